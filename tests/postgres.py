"""A real Postgres on this machine, for tests and benchmarks, gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


def missing():
    """Why no Postgres can be started here; empty when one can."""
    if not _programs():
        return "no Postgres here: apt-get install postgresql"
    if os.getuid() == 0 and not _account():
        return "Postgres does not run as root, and there is no other account"
    try:
        import dagster_postgres  # noqa: F401
    except ImportError:
        return "the extra postgres is not installed"
    return ""


@contextmanager
def serving():
    """Address of an empty database of a Postgres that runs while the block does."""
    why = missing()
    if why:
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="dnd-postgres-"))
    account = _account() if os.getuid() == 0 else None
    if account:
        shutil.chown(folder, account, pwd.getpwnam(account).pw_gid)
    data = folder / "data"
    port = _free_port()

    def run(program, *arguments):
        done = subprocess.run(
            [_programs() / program, *arguments], user=account, cwd=folder, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
            extra_groups=[] if account else None,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    try:
        run("initdb", "-D", data, "-U", "dnd", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        )
        # What is measured is a server that keeps its promises: fsync stays on.
        run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg2://dnd@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def emptied(address):
    """The address, once nothing is in the database."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
        connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
    engine.dispose()
    return address


def _programs():
    """The folder of Postgres's programs."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


def _account():
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
