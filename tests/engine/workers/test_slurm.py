"""The site file of docs/cluster.md on a real SLURM of one node, with a pilot that is cancelled."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from dnd_assets.engine.workers.account import Account
from dnd_assets.engine.workers.pools import Workers
from tests import light, studies
from tests.blocks import blocks
from tests.engine.workers.one_node_slurm import slurm
from tests.engine.workers.whole_state import state

ROOT = Path(__file__).parents[3]
_IMPATIENT = """
from site_of_docs import config as shown

def config():
    found = shown()
    found.executors[0].heartbeat_threshold = 10
    return found
"""
_SLOW_IN_PILOTS = (
    "    time.sleep(SECONDS)",
    """    from multiprocessing import current_process

    if current_process().name != "MainProcess":
        time.sleep(SECONDS)""",
)
"""Parts are slow, so that each job does some; what one process does alone need not be."""


class CancellingAccount(Account):
    """Cancels one of the pilot jobs when both have done a part of the same stage."""

    cancelled: ClassVar[list[str]] = []

    def add(self, worker, device, seconds):
        super().add(worker, device, seconds)
        if len(self.by_worker) == 2 and not self.cancelled:
            jobs = subprocess.run(
                ["squeue", "--noheader", "-t", "R", "-o", "%i"],
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            self.cancelled.append(jobs[0])
            subprocess.run(["scancel", jobs[0]], check=True)


class Cancelling(Workers):
    """Workers whose parts are counted so."""

    def begin(self):
        self.account = CancellingAccount()


@pytest.mark.timeout(600)
def test_a_study_by_pilot_jobs_of_which_one_is_cancelled(tmp_path, clip_folder, monkeypatch):
    pytest.importorskip("parsl", reason="Parsl is not installed")
    studies.write_images(tmp_path / "images", 9)
    light.project(tmp_path, clip_folder, seconds=0.5)
    captioner = tmp_path / "light_captioner.py"
    captioner.write_text(captioner.read_text().replace(*_SLOW_IN_PILOTS))
    table = studies.changed(light.table(clip_folder), compute__batch__captioner=1)
    studies.label(table, tmp_path, home=tmp_path / "alone")
    shown = next(one.text for one in blocks(ROOT / "docs" / "cluster.md", "python"))
    (tmp_path / "site_of_docs.py").write_text(shown)
    (tmp_path / "site_file.py").write_text(_IMPATIENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{sys.path[0]}")
    workers, lines = Cancelling("parsl:site_file.py:config", tmp_path), []
    with slurm(tmp_path / "slurm") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            studies.label(
                studies.changed(table, compute__workers=workers.handed_to),
                tmp_path,
                home=tmp_path / "together",
                workers=workers,
                log=lines.append,
            )
        finally:
            workers.close()
    assert CancellingAccount.cancelled, "no pilot was cancelled"
    assert any("are handed out again" in line for line in lines), lines
    alone, together = (state(table, tmp_path, tmp_path / name) for name in ("alone", "together"))
    for what in alone:
        assert together[what] == alone[what], what
