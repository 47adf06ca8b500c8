"""Train the study's Tile2Vec network from a folder of scenes.

`python -m dnd_assets.known_answers.land_cover.train SCENES` cuts triplets from the scenes, trains,
and writes `weights.safetensors` and `training.json`. The shipped weights took ten minutes on
a shared core, as `training.json` says.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Annotated

import torch
import typer

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import write_atomic
from dnd_assets.known_answers.land_cover.tile2vec import CHECKPOINT
from dnd_assets.known_answers.land_cover.train.tile2vec import (
    TrainingSettings,
    save_weights,
    train_tile2vec,
)

_USUAL = TrainingSettings()


def main(
    scenes: Annotated[Path, typer.Argument(help="Folder of scenes (.npy)")],
    out: Annotated[Path, typer.Option(help="Folder for the weights")] = CHECKPOINT,
    width: Annotated[int, typer.Option(help="Channels of the first stage; the authors' 64")] = (
        _USUAL.width
    ),
    steps: Annotated[int, typer.Option(help="Batches")] = _USUAL.steps,
    batch: Annotated[int, typer.Option(help="Triplets in a batch")] = _USUAL.batch,
    seed: Annotated[int, typer.Option(help="Of weights and triplets")] = _USUAL.seed,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
) -> None:
    """Train Tile2Vec on triplets of tiles."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    settings = dataclasses.replace(_USUAL, width=width, steps=steps, batch=batch, seed=seed)
    try:
        trained = train_tile2vec(scenes, settings)
    except StudyError as error:
        raise typer.BadParameter(str(error)) from error
    save_weights(trained.net, out / "weights.safetensors")
    record = {"settings": dataclasses.asdict(settings), "figures": trained.figures}
    write_atomic(out / "training.json", (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
