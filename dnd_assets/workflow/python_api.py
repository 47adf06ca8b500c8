"""Labelling from Python: what `dnd run` does, and `dnd init` before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dnd_assets.assets.resolved import resolve_study
from dnd_assets.home import state_folder
from dnd_assets.results.notebook import Results
from dnd_assets.results.notebook import open as open_results
from dnd_assets.study.study import load_study
from dnd_assets.workflow.init import init
from dnd_assets.workflow.run import run_resolved


def run(
    study: str | Path | None = None,
    units: Sequence[str] = (),
    assets: Sequence[str] = (),
    home: str | Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Results:
    """Materialize assets for some units, as `dnd run`; what is up to date is reused.

    Args:
        study: its name, or its TOML file; None is `DND_STUDY`, or known-answers.
        units: keys, prefixes or ranges; none for all.
        assets: names, with `+` for everything upstream; none for all.
        home: the state folder; None is `DND_HOME`, or `.dnd` in the working folder.
        log: takes lines of progress, for example `print`.

    Returns:
        The study's results.

    Raises:
        DndError: as `dnd run` tells it; finished work is kept.
    """
    place = state_folder() if home is None else Path(home).expanduser().resolve()
    place.mkdir(parents=True, exist_ok=True)
    text = None if study is None else str(study)
    run_resolved(resolve_study(load_study(text), place, log), units, assets)
    return open_results(text, place)


def label(
    network: str,
    images: str | Path,
    study: str | Path = "study.toml",
    weights: str | Path | None = None,
    home: str | Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Results:
    """Label a sample of a network's units by what they answer to in some images.

    The study is written first, as `dnd init` does, and stays: edit it, and call `run`.

    Args:
        network: its source, such as `torchvision:resnet50@IMAGENET1K_V2`.
        images: the folder of images.
        study: the TOML file to write; must not exist.
        weights: a weights file for the network.
        home: the state folder; None is `DND_HOME`, or `.dnd` in the working folder.
        log: takes lines of progress, for example `print`.

    Raises:
        DndError: when a model is missing, among others; the study is written then, and `dnd doctor`
            tells the command that gets it.
    """
    place = state_folder() if home is None else Path(home).expanduser().resolve()
    file = Path(study)
    init(network, Path(images), None if weights is None else Path(weights), file, place)
    return run(file, home=place, log=log)
