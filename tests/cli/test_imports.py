"""Commands that read answer at once: what takes seconds to import is imported where it is used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import studies
from tests.command_line import toml

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "dagster", "transformers", "pandas", "open_clip", "diffusers", "openai", "scipy"}
ASK = """
import sys
from dnd_assets.cli import main
try:
    main()
except SystemExit as ended:
    status = ended.code
print("LOADED", status or 0, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def place(labelled, colours, tmp_path_factory):
    """The labelled study with a file that names it."""
    folder, _ = labelled
    here = tmp_path_factory.mktemp("place")
    table = studies.changed(colours, probing_set__folders=[str(folder / "images")])
    (here / "study.toml").write_text(toml(table), encoding="utf-8")
    return here, folder / "state"


def _environment(here, home):
    return os.environ | {
        "DND_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "DND_STUDY": str(here / "study.toml"),
        "PYTHONPATH": str(ROOT),
    }


def _loaded(place, *arguments):
    """Top-level packages that a command has imported; it ends well."""
    here, home = place
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments],
        capture_output=True,
        text=True,
        env=_environment(here, home),
        cwd=here,
        check=False,
    )
    status, *names = done.stdout.rpartition("LOADED ")[2].split()
    assert status == "0", done.stdout + done.stderr
    return set(names)


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("--version",),
        ("labels",),
        ("trace", "net/colours/1"),
    ],
    ids=lambda command: command[0],
)
def test_what_only_reads_imports_no_model_and_no_workflow(place, command):
    assert not HEAVY & _loaded(place, *command)


def test_no_table_is_read_into_numpy(place):
    assert "numpy" not in _loaded(place, "labels")
    assert "numpy" not in _loaded(place, "trace", "net/colours/1")


KEPT = (("run",), ("plan",), ("doctor",), ("layers", "net"))
"""Commands that keep their answer as long as nothing changes."""
WARM = """
import os, sys
from dnd_assets.cli import main
before = dict(os.environ)
for arguments in KEPT:
    sys.argv = ["dnd", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
    os.environ.clear()
    os.environ.update(before)
"""


@pytest.fixture(scope="module")
def settled(place, tmp_path_factory):
    """The study after a run, whose commands have found nothing to do once."""
    here, home = place
    state = shutil.copytree(home, tmp_path_factory.mktemp("settled") / "state")
    code = f"KEPT = {[('run',), *KEPT]!r}\n{WARM}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=_environment(here, state), cwd=here, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return here, state


@pytest.mark.parametrize("command", KEPT, ids=lambda command: command[0])
def test_what_finds_nothing_to_do_imports_nothing_to_do_it_with(settled, command):
    assert not {*HEAVY, "numpy", "PIL"} & _loaded(settled, *command)


def test_what_has_to_be_planned_anew_imports_no_workflow(place):
    # Which file of a folder open_clip loads, it says itself, and it imports PyTorch.
    assert not {"dagster", "pandas", "diffusers", "openai"} & _loaded(
        place, "plan", "net/colours/0"
    )
