"""Who takes parts: processes of this machine, cards, and executors from elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dnd_assets.engine.cache.shared_results import get_or_compute
from dnd_assets.engine.context_builder import build_context, workers_of
from dnd_assets.engine.workers import pools
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.errors import MissingError, NotFoundError, StudyError, WorkerError
from dnd_assets.study.study import parse_study
from tests import studies
from tests.engine.workers import jobs

ROOT = Path(__file__).parents[3]
PARTS = [Part([str(n)], about={"seconds": 0.05}) for n in range(6)]
SITE = """
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

def config():
    here = LocalProvider(init_blocks=1, max_blocks=1)
    return Config(
        executors=[HighThroughputExecutor(label="here", max_workers_per_node=1, provider=here)],
        run_dir={folder!r},
    )

number = 3
"""


@pytest.fixture
def context(colours, colour_folder):
    return build_context(parse_study(colours, colour_folder), colour_folder / "state")


def test_the_study_says_who_works(colours, colour_folder):
    def of(**changes):
        return workers_of(parse_study(studies.changed(colours, **changes), colour_folder))

    assert (of().handed_to, of().count, of().elsewhere) == (None, 1, False)
    four = of(compute__workers="local:4", compute__device="cuda:1")
    assert (four.count, four.elsewhere, four.device, four.at_once) == (4, False, "cuda", 16)
    ray = of(compute__workers="ray")
    assert (ray.count, ray.elsewhere, ray.at_once) == (None, True, 64)
    assert of(compute__workers=3).handed_to is None


def test_a_process_that_dies_in_every_part_ends_the_run_in_words(context):
    lines = []
    context = replace(context, workers=Workers("local:1"), log=lines.append)
    with pytest.raises(WorkerError, match=r"lost 4 times by 'local:1'.*BrokenProcessPool"):
        list(hand_out(context, jobs.dying, PARTS[:1]))
    assert sum("are handed out again" in line for line in lines) == 3


def test_cards_are_those_that_this_process_sees(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(StudyError, match=r"no CUDA card. Write 'local:2'"):
        Workers("cards").executor()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    workers = Workers("cards", device="cuda")
    assert workers.count == 2
    pool = workers.executor()
    places, threads = pool._initargs
    assert [places.get(), places.get()] == ["5", "7"]
    assert threads == max(1, pools.available_cores() // 2)
    workers.close()


def test_each_process_sees_its_card_and_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(pools, "_cards", lambda: ["3", "4"])
    monkeypatch.setattr(pools, "available_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    workers = Workers("local:2", device="cuda")
    pool = workers.executor()
    asked = [pool.submit(jobs.environment, 0.5) for _ in range(2)]
    found = [one.result() for one in asked]
    workers.close()
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in found) == ["3", "4"]
    assert {one["OMP_NUM_THREADS"] for one in found} == {"1"}
    assert {one["OMP_WAIT_POLICY"] for one in found} == {"PASSIVE"}, "none spins while it waits"


NUMBERS = [str(n) for n in range(40)]
COORDINATOR = """
import json, sys
from dataclasses import replace
from pathlib import Path

from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.study.study import parse_study
from tests.engine.workers.test_pools import doubled_slowly

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    study = parse_study(json.loads((folder / "study.json").read_text()), folder)
    context = build_context(study, folder / "state")
    doubled_slowly(replace(context, workers=Workers("local:1", folder)), 0.1)
"""


def doubled_slowly(context, seconds):
    return get_or_compute(
        context, "number", "x", NUMBERS, 1, jobs.slowly, lambda _: {"seconds": seconds}
    )


def test_workers_end_with_a_coordinator_that_is_killed_and_the_next_run_goes_on(
    context, colours, colour_folder
):
    (colour_folder / "coordinator.py").write_text(COORDINATOR)
    (colour_folder / "study.json").write_text(json.dumps(colours))
    known = {}
    with subprocess.Popen(
        [sys.executable, "coordinator.py", str(colour_folder)],
        cwd=colour_folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        while len(known) < 3 and process.poll() is None:
            time.sleep(0.1)
            known = context.lineage.shared("number", "x", NUMBERS)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was killed at work"
    ((_, worker), *_) = known.values()
    for _ in range(100):
        if _gone(worker):
            break
        time.sleep(0.1)
    assert _gone(worker), f"worker {worker} outlives its coordinator"
    known = context.lineage.shared("number", "x", NUMBERS)
    found = doubled_slowly(context, 0)
    assert {name: value for name, (value, _) in found.items()} == {n: 2 * int(n) for n in NUMBERS}
    assert known.items() <= found.items(), "what was done is done"
    assert context.tally == {"numbers": len(NUMBERS) - len(known)}, "and the rest once"


def _gone(pid):
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_an_executor_of_a_users_own(context, tmp_path):
    (tmp_path / "my_machines.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def two(): return ThreadPoolExecutor(2)\n"
        "def none(): return 3\n"
    )
    own = replace(context, workers=Workers("my_machines:two", tmp_path))
    assert len(list(hand_out(own, jobs.doubled, PARTS))) == 6
    assert isinstance(own.workers.executor(), ThreadPoolExecutor)
    assert own.workers.count == 2
    own.workers.close()
    with pytest.raises(StudyError, match=r"returned int; it has to return a concurrent.futures"):
        Workers("my_machines:none", tmp_path).executor()
    with pytest.raises(NotFoundError, match=r"two"):
        Workers("my_machines:too", tmp_path).executor()


def test_parsl_on_this_machine(context, tmp_path, monkeypatch):
    pytest.importorskip("parsl", reason="Parsl is not installed")
    (tmp_path / "site.py").write_text(SITE.replace("{folder!r}", repr(str(tmp_path / "parsl"))))
    with pytest.raises(StudyError, match=r"number is a int; .* needs a parsl.Config"):
        Workers("parsl:site.py:number", tmp_path).executor()
    with pytest.raises(StudyError, match=r"holds no 'confg'; it holds .*config"):
        Workers("parsl:site.py:confg", tmp_path).executor()
    with pytest.raises(StudyError, match=r"there is no file .*sight\.py"):
        Workers("parsl:sight.py:config", tmp_path).executor()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    context = replace(context, workers=Workers("parsl:site.py:config", tmp_path))
    found = [made.values[0] for _, made in hand_out(context, jobs.sleeping, PARTS)]
    context.workers.close()
    assert len(found) == 6
    assert os.getpid() not in found


@pytest.mark.parametrize(("asked", "module"), [("ray", "ray"), ("parsl:site.py:config", "parsl")])
def test_what_is_not_installed_is_said_with_the_command(asked, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingError, match=rf"Run pip install 'dnd-assets\[{module}\]'"):
        Workers(asked).executor()


@pytest.mark.skipif("DND_RAY" not in os.environ, reason="starts a cluster; set DND_RAY to try")
def test_ray_on_this_machine(context, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    context = replace(context, workers=Workers("ray"))
    found = {made.values[0] for _, made in hand_out(context, jobs.sleeping, PARTS)}
    context.workers.close()
    assert os.getpid() not in found
