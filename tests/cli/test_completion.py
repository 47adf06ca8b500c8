"""Completion: what each shell asks and what it is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dnd_assets.cli import app
from dnd_assets.cli.completion import study_names


def complete(shell, words):
    """Answers for a command line that ends in an unfinished word."""
    environment = {
        "_DND_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    return CliRunner().invoke(app, [], prog_name="dnd", env=environment).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_studies_are_completed(shell):
    assert "labels" in complete(shell, ["dnd", "la"])
    assert "export" not in complete(shell, ["dnd", "la"])
    assert "--pictures" in complete(shell, ["dnd", "export", "--pi"])
    assert "known-answers" in complete(shell, ["dnd", "run", "--study", "kn"])
    assert "parquet" in complete(shell, ["dnd", "export", "--format", "p"])
    assert "worldnet" in complete(shell, ["dnd", "layers", "w"])


def test_study_files_and_folders_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "pyproject.toml", "notes.txt", ".hidden.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.toml").write_text("")

    assert study_names("m")[-2:] == ["mine.toml", "more/"]
    assert study_names("more/") == ["more/deep.toml"]
    assert study_names(".h") == [".hidden.toml"]
    assert study_names("nowhere/") == []
    assert "known-answers" in study_names("")
    assert "pyproject.toml" not in study_names("")


def test_bash_takes_the_script():
    folder = Path(sys.executable).parent
    asked = 'eval "$(dnd --show-completion)"; complete -p dnd'
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True, env=environment
    )

    assert "_dnd_completion" in done.stdout
