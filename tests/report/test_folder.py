"""The folder of a report: written when it differs, cleaned of its own old files alone."""

import pytest

from dnd_assets.errors import StudyError
from dnd_assets.report.folder import MANIFEST, Folder


def write(root, files):
    folder = Folder.open(root)
    for name, data in files.items():
        folder.put(name, data)
    folder.finish({})
    return folder


def test_only_what_differs_is_written(tmp_path):
    first = {"index.html": b"one", "units/a-0123456789.html": b"two"}
    assert write(tmp_path / "atlas", first).written == 2
    again = write(tmp_path / "atlas", {**first, "index.html": b"three"})
    assert (again.written, again.removed) == (1, 0)
    assert (tmp_path / "atlas" / "index.html").read_bytes() == b"three"


def test_a_file_that_was_lost_or_cut_is_written_again(tmp_path):
    files = {"index.html": b"one", "overview.html": b"two"}
    write(tmp_path, files)
    (tmp_path / "index.html").unlink()
    (tmp_path / "overview.html").write_bytes(b"t")
    assert write(tmp_path, files).written == 2


def test_old_files_go_and_those_of_others_stay(tmp_path):
    write(tmp_path, {"index.html": b"one", "units/a-0123456789.html": b"two"})
    (tmp_path / "notes.txt").write_text("mine")
    assert write(tmp_path, {"index.html": b"one"}).removed == 1
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "index.html", MANIFEST, "notes.txt",
    ]  # fmt: skip


def test_a_manifest_cannot_have_files_outside_removed(tmp_path):
    (tmp_path / "precious.html").write_text("mine")
    write(tmp_path / "atlas", {"index.html": b"one"})
    manifest = tmp_path / "atlas" / MANIFEST
    text = manifest.read_text().replace('"index.html"', '"../precious.html"')
    manifest.write_text(text)
    write(tmp_path / "atlas", {"index.html": b"one"})
    assert (tmp_path / "precious.html").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"version": 99, "files": {}}', '{"files": 3}']
)
def test_a_damaged_manifest_is_not_believed(tmp_path, content):
    write(tmp_path / "atlas", {"index.html": b"one"})
    (tmp_path / "atlas" / MANIFEST).write_text(content)
    if "files" in content:
        assert write(tmp_path / "atlas", {"index.html": b"one"}).written == 1
    else:
        with pytest.raises(StudyError, match="holds no report"):
            Folder.open(tmp_path / "atlas")


def test_a_folder_of_someone_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StudyError, match="is not empty and holds no report"):
        Folder.open(tmp_path)


def test_what_took_long_is_worked_out_once(tmp_path):
    made = []

    def work():
        made.append(1)
        return {"places": [1, 2]}

    for key in ("a", "a", "b"):
        folder = Folder.open(tmp_path)
        assert folder.once("map", key, work) == {"places": [1, 2]}
        folder.finish({})
    assert len(made) == 2
