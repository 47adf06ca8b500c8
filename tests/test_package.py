"""What is installed: every file, quick to import, and at odds with no other `resources`."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from dnd_assets.errors import MissingError
from dnd_assets.files.rasters.extras import EXTRAS as READERS
from dnd_assets.methods.lazy import EXTRAS, extra

ROOT = Path(__file__).parents[1]
PACKAGES = ("dnd_assets", "resources")
SLOW = {
    "dagster", "duckdb", "jinja2", "numpy", "pandas", "PIL", "pyarrow", "pydantic", "rich",
    "scipy", "torch", "transformers", "typer",
}  # fmt: skip


def python(code, folder, *first, **env):
    """What a program says in a folder, with `first` before this project on the path."""
    path = os.pathsep.join(map(str, [*first, ROOT]))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built from a copy of what git would hand out."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    code = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_and_nothing_else(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    there = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there - held == set()
    assert {"dnd_assets/py.typed", "resources/py.typed"} <= held
    packed = {name for name in held if ".dist-info/" not in name}
    assert packed == there
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_what_was_unpacked_elsewhere_reads_its_own_data(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = (
        "import dnd_assets, resources\n"
        "from dnd_assets.study.study import load_study\n"
        "from dnd_assets.known_answers.target import load_world_net\n"
        "from dnd_assets.report.pages import environment, style\n"
        "print(dnd_assets.__file__, resources.__file__)\n"
        "print(load_study('known-answers').name, len(style()), load_world_net() is not None)\n"
        "environment().get_template('unit.html')\n"
    )
    done = python(code, tmp_path / "empty", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    where, read = done.stdout.splitlines()
    assert where.count(str(tmp_path / "site")) == 2
    assert read == "known-answers 64 True"


def test_importing_the_package_imports_nothing_slow(tmp_path):
    code = "import dnd_assets, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & SLOW == set()


@pytest.mark.parametrize("made", ["resources.py", "resources/__init__.py", "resources/models.txt"])
def test_another_resources_in_the_folder_breaks_nothing_and_is_told(tmp_path, made):
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).write_text("")
    code = "import dnd_assets; from resources.licences import __file__ as found; print(found)"
    done = python(code, tmp_path, tmp_path)
    assert (done.stdout.strip(), done.returncode) == (str(ROOT / "resources/licences.py"), 0)
    if made.endswith(".py"):  # a folder without __init__.py was never the one that is imported
        assert "another `resources`" in done.stderr
        assert str(tmp_path / made) in done.stderr
    asked = [sys.executable, "-m", "dnd_assets.cli", "--version"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        asked,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split()[0], done.returncode) == ("dnd", 0), done.stderr


@pytest.mark.parametrize("made", ["resources.py", "resources/__init__.py", "resources/models.txt"])
def test_another_resources_that_was_imported_before_is_an_error_that_says_what_to_do(
    tmp_path, made
):
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).write_text("x = 1\n")
    # The folder alone is on the path before: ours, an ordinary package, would win otherwise.
    code = (
        f"import sys; path = sys.path[:]; sys.path[:] = [{str(tmp_path)!r}]\n"
        "import resources; sys.path[:] = path\nimport dnd_assets"
    )
    done = python(code, tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: dnd_assets needs the package `resources`")
    assert str(tmp_path) in last
    assert "Rename that file or folder" in last


def test_importing_our_resources_first_is_fine(tmp_path):
    done = python("import resources, dnd_assets; print('fine')", tmp_path)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("fine", "", 0)


def test_an_installation_without_resources_says_how_to_mend_it(tmp_path):
    (tmp_path / "dnd_assets").mkdir()
    (tmp_path / "dnd_assets/__init__.py").symlink_to(ROOT / "dnd_assets/__init__.py")
    code = "import sys; sys.meta_path[:] = sys.meta_path[:3]; import dnd_assets"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Install it again: pip install" in done.stderr


def test_a_package_of_an_extra_that_lacks_is_named_with_the_command(monkeypatch):
    for package, name in EXTRAS.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingError, match=rf"dnd-assets\[{name}\]") as caught:
            extra(package, "this")
        assert caught.value.command == f"pip install 'dnd-assets[{name}]'"


def test_every_extra_is_one_that_the_project_offers():
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = offered["optional-dependencies"]
    for package, name in {**EXTRAS, **READERS}.items():
        assert any(one.startswith(package) for one in extras[name])
        assert not any(one.startswith(package) for one in offered["dependencies"])


def test_no_module_but_its_own_imports_a_package_of_an_extra_when_it_is_imported():
    """Else the core would not run without the extra."""
    own = {"openlineage": "dnd_assets/lineage/openlineage.py"}
    for package in {**EXTRAS, **READERS}:
        starts = (f"import {package}", f"from {package}")
        found = {
            str(path.relative_to(ROOT))
            for one in PACKAGES
            for path in (ROOT / one).rglob("*.py")
            if any(line.startswith(starts) for line in path.read_text().splitlines())
        }
        assert found <= {own.get(package, "")}
