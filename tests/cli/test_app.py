"""What all commands share."""

import contextlib
import io
from importlib.metadata import version
from inspect import signature

import pytest
from typer.testing import CliRunner

from dnd_assets.cli import app, main


def test_the_version():
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"dnd {version('dnd-assets')}\n")


@pytest.mark.parametrize("command", [[], ["labels"], ["run"]])
def test_short_help(command):
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output
    assert "Usage: " in short.output


def test_every_command_can_be_quiet():
    for registered in app.registered_commands:
        names = signature(registered.callback).parameters
        assert "quiet" in names, registered.callback.__name__


@pytest.mark.parametrize(
    "command",
    ["ablate", "clarity", "compare", "diff", "doctor", "evaluate", "explain", "groups", "labels",
     "layers", "look", "plan", "ratings", "run", "runs", "search", "trace", "verify"],
)  # fmt: skip
def test_what_a_script_may_want_is_had_as_json(command):
    assert "--json " in CliRunner().invoke(app, [command, "--help"]).output


def test_no_colour_without_a_terminal_and_an_unknown_study_is_status_2(monkeypatch, tmp_path):
    monkeypatch.setenv("DND_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["dnd", "labels", "--study", "no-such-study"])
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "no-such-study" in stderr.getvalue()
    assert "\x1b" not in stderr.getvalue()
