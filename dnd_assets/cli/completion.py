"""What a shell completes besides commands and options; `dnd --install-completion` sets it up."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def study_names(incomplete: str) -> list[str]:
    """Embedded studies and the TOML files of a folder that begin with what is typed so far."""
    from dnd_assets.study.study import embedded_studies

    folder, _, start = incomplete.rpartition("/")
    prefix = f"{folder}/" if "/" in incomplete else ""
    directory = Path(prefix or ".").expanduser()
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        entries = []
    matching = [entry for entry in entries if entry.name.startswith(start) and _shown(entry, start)]
    files = [f"{prefix}{file.name}{'/' if file.is_dir() else ''}" for file in matching]
    return [name for name in embedded_studies() if name.startswith(incomplete)] + files


def _shown(entry: os.DirEntry[str], start: str) -> bool:
    """Studies and folders; hidden ones only when asked for."""
    hidden = entry.name.startswith(".") and not start.startswith(".")
    study = entry.name.endswith(".toml") and entry.name != "pyproject.toml"
    return not hidden and (study or entry.is_dir())


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models of the study that the command line names so far, or of `DND_STUDY`."""
    from dnd_assets.errors import DndError
    from dnd_assets.study.study import load_study

    chosen = ctx.params.get("study")
    try:
        models = load_study(chosen).models
    except DndError:
        return []
    return [model.name for model in models if model.name.startswith(incomplete)]
