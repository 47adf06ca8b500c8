"""The real `dnd run`, and runs that the web interface launched, killed at random moments.

After each kill a rerun has to come, in limited time, to what an undisturbed run comes to; no run
may stay "started", and nothing may live on that was to end.
"""

import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.setting import Figure, Table
from tests import commands, light
from tests.processes import command

LIMIT_S = 600.0
"""A rerun that takes longer hangs: it takes a tenth of that on a busy machine."""
UNITS = ("net/colours/0", "net/colours/1")
VICTIMS = ("run", "dnd ui", "daemon")
_END_S = 2.0


class _Trials:
    """Projects to kill in, and what an undisturbed run of one comes to."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.project = light.project(folder / "project", Path(table["clip"]["model"]))
        self.bad: Counter[str] = Counter()
        self.place = self.fresh()
        for _ in range(2):  # the first one waits for the libraries to be imported
            self.fresh()
            started = time.monotonic()
            assert _status(command(self.place, "run")) == 0, commands.said(self.place)
            self.longest = time.monotonic() - started
        self.whole = commands.products(self.place)
        assert self.whole

    def fresh(self) -> Path:
        """The project without any state."""
        place = self.project
        shutil.rmtree(place / "state", ignore_errors=True)
        return place

    def rerun(self) -> None:
        """Run again from the command line, and compare."""
        left = {run for run, status in commands.runs(self.place).items() if status in commands.HELD}
        status = _status(command(self.place, "run"))
        if status is None:
            self.bad["hangs"] += 1
            return
        said = commands.said(self.place)
        self.bad["failed reruns"] += status != 0
        self.bad["other products"] += commands.products(self.place) != self.whole
        self.bad["killed runs of which nothing is said"] += any(run[:8] not in said for run in left)
        self.settled()

    def settled(self) -> None:
        """Count runs that stay open."""
        after = commands.runs(self.place).values()
        self.bad["runs left open"] += any(status in commands.HELD for status in after)

    def figures(self, name: str) -> list[Figure]:
        """One line for each thing that may go wrong."""
        every = (
            "hangs", "failed reruns", "other products", "killed runs of which nothing is said",
            "runs left open", "processes that live on", "ports that stay taken",
        )  # fmt: skip
        counts = {what: self.bad[what] for what in every}
        return [Figure(f"{name}: {what}", str(n), "0", n == 0) for what, n in counts.items()]


def _status(process: BaseProcess) -> int | None:
    """Exit status of a process, waited for; None when it hangs, and is killed."""
    process.join(LIMIT_S)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    return status


def killed_commands(table: Table, folder: Path, times: int = 50) -> list[Figure]:
    """SIGKILL of `dnd run` at random moments of its work.

    Its process has imported the slow libraries already: imports would be most of the moments.
    """
    trials = _Trials(table, folder)
    dice = random.Random(0)  # noqa: S311 (trials, not secrets)
    killed = at_work = 0
    while killed < times:
        process = command(trials.fresh(), "run")
        time.sleep(dice.uniform(0.0, trials.longest))
        process.kill()
        if _status(process) != -signal.SIGKILL:
            continue
        killed += 1
        at_work += bool(commands.runs(trials.place))
        trials.rerun()
    return trials.figures(f"SIGKILL of `dnd run` at {killed} random moments, {at_work} of a run")


def killed_interfaces(table: Table, folder: Path, times: int = 12) -> list[Figure]:
    """SIGKILL of a launched run, of `dnd ui`, and of its daemon, in turn, at random moments."""
    trials = _Trials(table, folder)
    dice = random.Random(1)  # noqa: S311 (trials, not secrets)
    interface: commands.Interface | None = None
    killed: Counter[str] = Counter()
    for number in range(times):
        victim = VICTIMS[number % len(VICTIMS)]
        if interface is None:
            interface = commands.Interface(trials.fresh(), free_port())
            assert interface.ready(), commands.said(trials.place)
        run = interface.launch(*UNITS)
        time.sleep(dice.uniform(0.0, trials.longest))
        killed[victim] += _kill(interface, victim, run)
        if victim == "run":
            _launch_again(trials, interface, run)
        else:
            _all_ends(trials, interface)
            interface = None
            trials.rerun()
    if interface is not None:
        interface.kill()
    told = ", ".join(f"{killed[victim]} of {victim}" for victim in VICTIMS)
    return trials.figures(f"SIGKILL in the interface ({told})")


def _kill(interface: commands.Interface, victim: str, run: str) -> bool:
    """Kill one process; whether it was there to be killed."""
    if victim == "dnd ui":
        interface.kill()
        return True
    if victim == "run":
        commands.wait_for(lambda: _worker(interface, run) or _ended(interface, run), 60)
        process = _worker(interface, run)
    else:
        lines = commands.members(interface.group)
        process = next(pid for pid, line in lines.items() if "dagster._daemon" in line)
    if process:
        os.kill(process, signal.SIGKILL)
    return bool(process)


def _worker(interface: commands.Interface, run: str) -> int:
    """The run's own process, once it has said so; 0 before and after."""
    process = commands.owner(interface.folder, run)
    line = commands.members(interface.group).get(process, "")
    return process if "multiprocessing" in line else 0


def _ended(interface: commands.Interface, run: str) -> bool:
    return commands.runs(interface.folder)[run] not in commands.OPEN


def _launch_again(trials: _Trials, interface: commands.Interface, run: str) -> None:
    """The dead run is marked, and another one comes to the same, in the same interface."""
    trials.bad["runs left open"] += not commands.wait_for(lambda: _ended(interface, run), LIMIT_S)
    again = interface.launch(*UNITS)
    trials.bad["hangs"] += not commands.wait_for(lambda: _ended(interface, again), LIMIT_S)
    trials.bad["failed reruns"] += commands.runs(interface.folder)[again] != "SUCCESS"
    trials.bad["other products"] += commands.products(trials.place) != trials.whole


def _all_ends(trials: _Trials, interface: commands.Interface) -> None:
    """Nothing that `dnd ui` has started lives on, and its port is free.

    Dagster looks every five seconds whether its daemon lives.
    """
    by_itself = interface.process.poll() is None
    commands.wait_for(lambda: interface.process.poll() is not None, 60)
    gone = commands.wait_for(lambda: not commands.members(interface.group), _END_S)
    trials.bad["processes that live on"] += not gone
    trials.bad["hangs"] += by_itself and interface.process.poll() is None
    trials.bad["ports that stay taken"] += not commands.wait_for(
        lambda: not _listens(interface.port), _END_S
    )


def _listens(port: int) -> bool:
    """Whether anything takes connections there.

    That the port cannot be bound says less: it is one of those that the system also gives to
    connections of other processes.
    """
    with socket.socket() as probe:
        probe.settimeout(_END_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nothing takes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
