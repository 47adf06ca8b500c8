"""Locks: found out where there are none, and whom to wait for."""

import errno
import fcntl
import os
import socket

import pytest

from dnd_assets.errors import LineageError
from resources.lineage_db import locks
from resources.lineage_db.database import Lineage
from resources.lineage_db.locks import LockOwner, locked
from tests.resources.lineage_db.test_database import artefact


@pytest.fixture
def without_flock(monkeypatch, request):
    def refused(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(locks, "_TRIED", set())
    monkeypatch.setattr(fcntl, "flock", refused)


KINDS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]


@pytest.mark.parametrize("without_flock", KINDS, indirect=True)
@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize(
    "use",
    [
        lambda lineage: lineage.commit({"artefacts": [artefact("a")]}),
        lambda lineage: lineage.query("SELECT 1"),
        lambda lineage: lineage.compact(),
        lambda lineage: lineage.exclusive(print).__enter__(),
    ],
    ids=["commit", "query", "compact", "run"],
)
def test_a_file_system_without_locks_is_refused_in_words(tmp_path, use):
    with pytest.raises(LineageError) as caught:
        use(Lineage(root=str(tmp_path)))
    said = str(caught.value)
    assert f"the file system of {tmp_path} keeps no locks" in said
    assert "-o flock" in said
    assert "DND_HOME" in said
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("without_flock", [errno.EIO], indirect=True)
@pytest.mark.usefixtures("without_flock")
def test_another_refusal_is_said_as_it_is(tmp_path):
    with pytest.raises(LineageError, match=r"cannot be written: Input/output error"):
        Lineage(root=str(tmp_path)).commit({"artefacts": [artefact("a")]})


def test_a_file_that_a_dead_owner_left_blocks_nobody(tmp_path):
    for name in ("compute.lock", "lineage.lock"):
        (tmp_path / name).write_text("12345\nnode7\n")
    lineage = Lineage(root=str(tmp_path))
    with lineage.exclusive(pytest.fail):
        lineage.commit({"artefacts": [artefact("a")]})


def test_a_thread_may_enter_its_own_lock_again(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        with locked(path):
            pass
        assert (str(path), locks.threading.get_ident()) in locks._HELD
    assert not locks._HELD


def test_an_owner_is_told_with_its_machine_only_if_it_is_another(tmp_path):
    owner = LockOwner(tmp_path / "owner")
    assert (owner.told(), owner.elsewhere()) == ("", "")
    owner.write("run 12 of colours")
    assert owner.told() == f"process {os.getpid()} (run 12 of colours)"
    assert owner.elsewhere() == ""
    owner.path.write_text("process 7 (run 12 of colours)\nnode7")
    assert owner.told() == "process 7 (run 12 of colours) on node7"
    assert socket.gethostname() != "node7"


def test_locks_that_do_not_reach_across_machines_are_noticed(tmp_path):
    """The lock was free though another machine has not said that it let go."""
    (tmp_path / "compute.owner").write_text("process 7 (run 12 of colours)\nnode7")
    lines = []
    with Lineage(root=str(tmp_path)).exclusive(lines.append):
        pass
    (line,) = lines
    assert "process 7 (run 12 of colours) on node7 has not said that it ended" in line
    assert "do not reach from machine to machine" in line
    with Lineage(root=str(tmp_path)).exclusive(pytest.fail):
        pass
