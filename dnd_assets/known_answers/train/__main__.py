"""Recreate the checkpoints from seeds.

`python -m dnd_assets.known_answers.train all --work FOLDER` trains every model (about seven
hours of one core), brings them into the shipped form and writes `training.json` with their
figures. Any single step can be named instead.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from dnd_assets.known_answers.train.captioner import CaptionerTraining, train_captioner
from dnd_assets.known_answers.train.clip import ClipSettings, train_clip
from dnd_assets.known_answers.train.hard import HardSettings, train_hard
from dnd_assets.known_answers.train.recogniser import (
    CRITIC,
    RecogniserSettings,
    train_recogniser,
)
from dnd_assets.known_answers.train.refine import AGAIN, RefineSettings, train_refined
from dnd_assets.known_answers.train.release import release
from dnd_assets.known_answers.train.target import TargetSettings, train_target
from dnd_assets.known_answers.train.text_to_image import (
    READING,
    PainterSettings,
    train_text_to_image,
)
from dnd_assets.known_answers.train.training_figures import evaluate_all
from dnd_assets.known_answers.train.vae import (
    SHARP,
    DecoderSettings,
    VaeSettings,
    train_decoder,
    train_vae,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"

# In the order of training. What ships as `text_to_image` holds the last autoencoder; the painter is
# trained on pictures, then so that its prompts can be read back, then on its own paintings.
_TRAINERS: dict[str, tuple[DataclassInstance, Callable[[Path], object]]] = {
    "target": (TargetSettings(), lambda work: train_target(work / "target")),
    "vae": (VaeSettings(), lambda work: train_vae(work / "vae")),
    "decoder": (DecoderSettings(), lambda work: train_decoder(work / "decoder", work / "vae")),
    "painter": (
        PainterSettings(),
        lambda work: train_text_to_image(work / "painter", work / "vae"),
    ),
    "critic": (CRITIC, lambda work: train_recogniser(work / "critic", CRITIC)),
    "sharp_decoder": (
        SHARP,
        lambda work: train_decoder(
            work / "sharp_decoder", work / "decoder", SHARP, work / "critic"
        ),
    ),
    "reading_painter": (
        READING,
        lambda work: train_text_to_image(
            work / "reading_painter", work / "decoder", READING, work / "painter"
        ),
    ),
    "refined": (
        RefineSettings(),
        lambda work: train_refined(
            work / "refined", work / "reading_painter", work / "sharp_decoder", work / "critic"
        ),
    ),
    "text_to_image": (
        AGAIN,
        lambda work: train_refined(
            work / "text_to_image", work / "refined", work / "sharp_decoder", work / "critic", AGAIN
        ),
    ),
    "captioner": (CaptionerTraining(), lambda work: train_captioner(work / "captioner")),
    "clip": (ClipSettings(), lambda work: train_clip(work / "clip")),
    "recogniser": (RecogniserSettings(), lambda work: train_recogniser(work / "recogniser")),
    "hard": (HardSettings(), lambda work: train_hard(work / "hard")),
}
_SHIPPED = ("target", "text_to_image", "captioner", "clip", "recogniser", "hard")


def train(name: str, work: Path, threads: int) -> None:
    """Train one model below `work` and note its settings and minutes beside it."""
    torch.set_num_threads(threads)
    settings, trainer = _TRAINERS[name]
    started = time.monotonic()
    trainer(work)
    record = {
        "settings": dataclasses.asdict(settings),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "threads": threads,
    }
    write_json(work / f"{name}.json", record)


def evaluate(work: Path, checkpoints: Path, per_prompt: int = 10) -> dict[str, Any]:
    """Write `training.json`: sizes, settings, minutes and held-out figures of all models."""
    path = checkpoints / "training.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    table: dict[str, Any] = old.get("models", {})
    for name in _TRAINERS:
        record = work / f"{name}.json"
        if record.is_file():
            table[name] = json.loads(record.read_text(encoding="utf-8"))
    for name, figures in evaluate_all(checkpoints, per_prompt).items():
        files = [file for file in (checkpoints / name).rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        table[name] = {**table.get(name, {}), "bytes": size, "figures": figures}
    result = {"models": table, "bytes": sum(row.get("bytes", 0) for row in table.values())}
    write_json(path, result)
    return result


def write_json(path: Path, content: object) -> None:
    """Write readable JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(
    step: Annotated[
        str, typer.Argument(help=f"all, one of {', '.join(_TRAINERS)}, release or evaluate")
    ],
    work: Annotated[Path, typer.Option(help="Folder for trained models")] = Path("training"),
    checkpoints: Annotated[Path, typer.Option(help="Folder of shipped models")] = CHECKPOINTS,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
    per_prompt: Annotated[int, typer.Option(help="Pictures a concept, to judge painting")] = 10,
) -> None:
    """Train, ship or judge the models of the study with known answers."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if step not in ("all", "release", "evaluate", *_TRAINERS):
        step_names = ", ".join(("all", *_TRAINERS, "release", "evaluate"))
        raise typer.BadParameter(f"unknown step {step!r}; choose one of {step_names}")
    for name in _TRAINERS:
        if step in ("all", name):
            train(name, work, threads)
    if step in ("all", "release"):
        for name in _SHIPPED:
            if (work / name).is_dir():
                release(name, work / name, checkpoints)
    if step in ("all", "evaluate"):
        evaluate(work, checkpoints, per_prompt)


if __name__ == "__main__":
    typer.run(main)
