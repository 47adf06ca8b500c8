"""What a run works out of its study, it works out once: resources, units, stages, images."""

import shutil
import sys
import threading
from collections import Counter

import pytest

from dnd_assets.assets import concept_masks
from dnd_assets.assets.image_sets import ImageSet
from dnd_assets.engine import context_builder
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.run import run
from resources.lineage_db.database import Lineage
from tests import studies
from tests.command_line import dnd, toml
from tests.integration.test_segmentation import write_case

FUNCTIONS = ("build_context", "find_units", "select_units", "stages_of")


def _everywhere(monkeypatch, name, function):
    """Put a function in place of the one of this name, wherever that was imported to."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("dnd_assets.") and name in vars(module):
            monkeypatch.setattr(module, name, function)


@pytest.fixture
def calls(monkeypatch):
    """How often each function is called, and each set of images is scanned."""
    from dnd_assets.assets import registry

    found = Counter()

    def counted(name, function):
        def call(*args, **options):
            found[name] += 1
            return function(*args, **options)

        return call

    for name in FUNCTIONS:
        function = getattr(registry if name == "stages_of" else context_builder, name)
        _everywhere(monkeypatch, name, counted(name, function))
    scan = ImageSet.scan

    def scanned(self, context, *, tell=True):
        found[self.asset] += 1
        return scan(self, context, tell=tell)

    monkeypatch.setattr(ImageSet, "scan", scanned)
    monkeypatch.setattr(concept_masks, "_scan", counted("concept_masks", concept_masks._scan))
    return found


@pytest.fixture
def folder(colours, tmp_path):
    studies.write_images(tmp_path / "images")
    (tmp_path / "study.toml").write_text(toml(colours), encoding="utf-8")
    return tmp_path


ONCE = dict.fromkeys((*FUNCTIONS, "probing_set"), 1)


def _lines(output, words):
    return sum(line.strip().startswith(words) for line in output.splitlines())


@pytest.mark.parametrize("asked", [(), ("--assets", "+activations")])
def test_a_cold_run_makes_everything_once(folder, calls, asked):
    done = dnd(folder, "run", "net/colours/0", *asked)
    assert done.exit_code == 0, done.output
    assert calls == ONCE
    assert _lines(done.output, "probing images 18/18") == 1
    calls.clear()
    assert "up to date" in dnd(folder, "run", "net/colours/0", *asked).output
    assert calls == ONCE


def test_a_plan_makes_everything_once(folder, calls):
    assert dnd(folder, "run", "--assets", "probing_set").exit_code == 0
    calls.clear()
    planned = dnd(folder, "plan", "net/colours/0")
    assert planned.exit_code == 0, planned.output
    assert calls == ONCE


def test_every_set_of_images_is_scanned_once(colours, tmp_path, calls):
    """Held-out images look at the probing images, too: those that are in both are left out."""
    write_case(tmp_path)
    studies.write_images(tmp_path / "fresh", count=4, seed=3)
    (tmp_path / "concepts.txt").write_text("red\ngreen\n")
    table = studies.changed(
        colours,
        clip_dissect={"concepts": "concepts.txt", "top_images": 2},
        evaluation={"folders": ["fresh"]},
        segmentation={"table": {"file": "table.csv", "images": "images", "masks": "masks"}},
    )
    (tmp_path / "study.toml").write_text(toml(table), encoding="utf-8")
    names = "probing_set,concept_activations,held_out_images,concept_masks"
    done = dnd(tmp_path, "run", "--assets", names)
    assert done.exit_code == 0, done.output
    assert ", 4 products computed" in done.output
    assert calls == {**ONCE, "probing_set": 2, "held_out_images": 1, "concept_masks": 1}


def test_a_run_that_waited_for_another_one_looks_again(colours, folder, calls, monkeypatch):
    """Images come and go while another run has the lock: a list of before would be out of date."""
    home = folder / "state"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    held, free = threading.Event(), threading.Event()

    def hold():
        with Lineage(root=str(home)).exclusive(pytest.fail):
            held.set()
            free.wait(60)

    other = threading.Thread(target=hold)

    def log(line):
        if line.startswith("probing images 18/18") and not held.is_set():
            other.start()
            assert held.wait(60)
        if line.startswith("waiting for"):
            (folder / "images" / "000.png").unlink()
            shutil.copy(folder / "images" / "001.png", folder / "images" / "copy.png")
            free.set()

    done = run(parse_study(colours, folder), home, ["net/colours/0"], ["+activations"], log)
    other.join(60)
    assert free.is_set()
    assert done.computed == {"probing_set": 1, "activations": 1}
    assert calls == {**ONCE, "probing_set": 2}
    (made,) = Lineage(root=str(home)).query(
        "SELECT p.payload ->> '$.images' AS images FROM materializations m "
        "JOIN products p USING (key) WHERE m.asset = 'probing_set'"
    )
    assert made["images"] == "17"
