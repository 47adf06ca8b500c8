"""Labelling from Python."""

import pytest

import dnd_assets as dnd
from dnd_assets.errors import StudyError
from tests import studies
from tests.command_line import toml


def test_a_run_from_python_is_that_of_the_command_line(colours, colour_folder):
    file = colour_folder / "study.toml"
    file.write_text(toml(colours), encoding="utf-8")
    lines = []
    units, assets = ["net/colours/0"], ["+activations"]
    results = dnd.run(file, units, assets, home=colour_folder / "state", log=lines.append)
    assert list(results.activations()["unit"]) == units
    assert any("probing images" in line for line in lines)
    lines.clear()
    dnd.run(file, units, assets, home=colour_folder / "state", log=lines.append)
    assert not [line for line in lines if "to compute" in line]


def test_label_writes_a_study_and_says_which_model_is_missing(tmp_path):
    studies.write_images(tmp_path / "images")
    study = tmp_path / "mine.toml"
    with pytest.raises(StudyError, match="is not on this machine"):
        dnd.label(
            "module:tests.networks:colour_net", tmp_path / "images", study, home=tmp_path / "state"
        )
    assert "tests.networks:colour_net" in study.read_text(encoding="utf-8")
