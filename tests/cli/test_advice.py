"""What messages advise leads to the study that was asked about."""

import pytest

from dnd_assets.cli.advice import asked_study, for_study, with_study


@pytest.mark.parametrize(
    ("arguments", "study"),
    [
        (["labels"], None),
        (["labels", "--study", "mine.toml"], "mine.toml"),
        (["labels", "-s", "mine.toml"], "mine.toml"),
        (["--quiet", "run", "--study=mine.toml", "net/fc/3"], "mine.toml"),
        (["labels", "--study"], None),
    ],
)
def test_the_study_is_the_one_of_the_command_line(arguments, study):
    assert asked_study(arguments) == study


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Run `dnd run net/fc/3` first.", "Run `dnd run net/fc/3 --study mine.toml` first."),
        ("`dnd layers` lists them.", "`dnd layers --study mine.toml` lists them."),
        ("Run `dnd run --study other`.", "Run `dnd run --study other`."),
        ("Run `dnd init` first.", "Run `dnd init` first."),
        ("no study 'dnd run'", "no study 'dnd run'"),
    ],
)
def test_advised_commands_name_the_study(message, told):
    assert for_study(message, "mine.toml") == told
    assert for_study(message, None) == message


def test_a_name_with_spaces_can_be_copied():
    assert with_study("dnd ui", "my study.toml") == "dnd ui --study 'my study.toml'"
