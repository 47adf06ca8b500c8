"""A real SLURM of one node on loopback, from Debian's packages slurm-wlm and munge."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
_CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def _free_ports(count):
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


@contextmanager
def slurm(folder):
    """A cluster of one node; yields what the environment has to hold to use it."""
    lacking = [name for name in PROGRAMS if not _program(name)]
    if lacking or os.geteuid() != 0:
        pytest.skip(f"no SLURM: {', '.join(lacking) or 'its daemons'} not here, or not root")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(_CONF.format(host=host, folder=folder, ports=_free_ports(2)))
    environment = {"SLURM_CONF": str(conf)}
    munge = [
        _program("munged"), "--foreground", "--force", f"--key-file={key}",
        f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid",
        f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
    ]  # fmt: skip
    with ExitStack() as stack:
        for command in (munge, [_program("slurmctld"), "-D"], [_program("slurmd"), "-D"]):
            stack.enter_context(_daemon(command, environment, folder))
            time.sleep(0.5)
        _wait_for_node(environment, folder)
        yield environment


def _program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@contextmanager
def _daemon(command, environment, folder):
    log = folder / f"{Path(command[0]).name}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=out, stderr=out
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_node(environment, folder):
    for _ in range(60):
        found = subprocess.run(
            ["sinfo", "--noheader", "-o", "%T"],
            env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if found.stdout.strip() in ("idle", "mixed"):
            return
        time.sleep(0.5)
    told = "".join(one.read_text(errors="replace")[-500:] for one in folder.glob("*.out"))
    pytest.skip(f"SLURM does not come up here: {found.stdout}{found.stderr}{told}")
