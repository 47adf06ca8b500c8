"""`dnd merge` as it is typed."""

from tests.command_line import dnd, toml
from tests.engine.test_merge import differing


def test_it_says_what_was_added_and_what_differs(tmp_path, colours):
    here, there = differing(tmp_path)
    (tmp_path / "study.toml").write_text(toml(colours))
    empty = dnd(tmp_path, "merge", here)
    assert empty.exit_code == 0, empty.output
    assert "products, " in empty.output
    refused = dnd(tmp_path, "merge", there)
    assert refused.exit_code == 1
    assert "labels : red dot in" in refused.output
    assert "2 made twice that differ" in refused.output
    assert "nothing was added" in refused.output
    kept = dnd(tmp_path, "merge", there, "--keep")
    assert kept.exit_code == 0
    assert "0 products, 0 announcements and 0 files added" in kept.output


def test_a_folder_that_is_none_is_told(tmp_path, colours):
    (tmp_path / "study.toml").write_text(toml(colours))
    refused = dnd(tmp_path, "merge", tmp_path / "nowhere")
    assert refused.exit_code != 0
    assert "is no state folder" in (refused.output + str(refused.exception))
