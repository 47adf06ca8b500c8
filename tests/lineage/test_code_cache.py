"""Code versions kept between processes: found again for the same sources, and only then."""

import json
import os

import pytest

from dnd_assets.lineage import code_cache
from dnd_assets.lineage.code_cache import CodeVersions


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder with one package of one module, and a cache of its own."""
    monkeypatch.setenv("DND_CACHE", str(tmp_path / "cache"))
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("A = 1\n")
    return tmp_path


def asked(sources, answer="0123456789ab"):
    """The version of one key, and how often it was worked out."""
    calls = []
    kept = CodeVersions(sources, ["package"])
    return kept.version("key", lambda: calls.append(1) or answer), len(calls)


def files(sources):
    return sorted((sources / "cache" / "code-versions").iterdir())


def test_another_process_finds_what_was_worked_out(sources):
    assert asked(sources) == ("0123456789ab", 1)
    assert asked(sources, "ffffffffffff") == ("0123456789ab", 0)


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_any_change_of_the_sources_works_it_out_anew(sources, change):
    module = sources / "package" / "module.py"
    (sources / "package" / "other.py").write_text("B = 1\n")
    asked(sources)
    before = module.stat()
    if change == "content":  # as long as before, and as old
        module.write_text("A = 2\n")
        os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    if change == "name":
        module.rename(sources / "package" / "renamed.py")
    if change == "new":
        (sources / "package" / "new.py").write_text("")
    if change == "gone":
        (sources / "package" / "other.py").unlink()
    assert asked(sources, "ffffffffffff") == ("ffffffffffff", 1)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 3}', '{"key": "<b>"}', "\x00"])
def test_a_damaged_file_counts_for_nothing(sources, content):
    asked(sources)
    (file,) = files(sources)
    file.write_text(content)
    assert asked(sources, "ffffffffffff") == ("ffffffffffff", 1)
    assert json.loads(file.read_text()) == {"key": "ffffffffffff"}


def test_without_a_folder_to_write_it_is_worked_out_each_time(sources, monkeypatch):
    (sources / "file").write_text("")
    monkeypatch.setenv("DND_CACHE", str(sources / "file"))
    assert asked(sources) == ("0123456789ab", 1)
    assert asked(sources) == ("0123456789ab", 1)


def test_few_files_are_kept(sources):
    for state in range(code_cache._MOST_FILES + 5):
        (sources / "package" / "module.py").write_text(f"A = {state}\n")
        asked(sources)
    assert len(files(sources)) == code_cache._MOST_FILES


def test_kept_versions_are_those_that_are_worked_out(sources):
    from dnd_assets.assets.crops import Crops
    from dnd_assets.lineage.code import code_version, project
    from dnd_assets.lineage.code_modules import Node

    node = Node(Crops.__module__, "Crops", "")
    assert code_version(Crops) == project().version([node])
