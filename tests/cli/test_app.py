"""What all commands share."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from dnd_assets.cli import app


def test_the_version():
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"dnd {version('dnd-assets')}\n")


@pytest.mark.parametrize("command", [[], ["labels"], ["run"]])
def test_short_help(command):
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output
    assert "Usage: " in short.output
