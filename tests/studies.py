"""A small study on a network known by hand, and a way to run it without Dagster."""

import copy
from pathlib import Path

import numpy as np
from PIL import Image

from dnd_assets.assets import probing_set
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.study.study import parse_study

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


def write_images(folder: Path, count: int = 18, seed: int = 0) -> None:
    """Coloured squares on grey, each a little different, named by number."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = list(COLOURS)
    for index in range(count):
        pixels = np.full((32, 32, 3), 120, dtype=np.uint8)
        left, top = rng.integers(2, 14, size=2)
        side = int(rng.integers(6, 16))
        pixels[top : top + side, left : left + side] = COLOURS[names[index % 3]]
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")


def table(blip: Path, clip: Path, painter: Path) -> dict:
    """The study as it would stand in a TOML file."""
    return {
        "name": "colours",
        "models": [
            {
                "name": "net",
                "source": "module:tests.networks:colour_net",
                "layers": [{"path": "colours"}, {"path": "spoilt"}],
            }
        ],
        "probing_set": {"folders": ["images"]},
        "dissection": {"crop_size": 32, "images_per_concept": 3, "exemplars": 5, "candidates": 2},
        "captioner": {"checkpoint": str(blip), "max_new_tokens": 6},
        "text_to_image": {"checkpoint": str(painter), "steps": 1, "guidance": 1.0},
        "clip": {"model": str(clip), "pretrained": ""},
        "compute": {
            "device": "cpu",
            "batch": {"target": 8, "captioner": 4, "text_to_image": 4, "clip": 8},
        },
    }


def changed(table: dict, **changes) -> dict:
    """The table with `section__key=value` changes."""
    table = copy.deepcopy(table)
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return table


def label(
    table: dict,
    folder: Path,
    units=(),
    home: Path | None = None,
    run="run",
    last="labels",
    **overrides,
):
    """Materialize everything up to `last` without Dagster; announcements by (asset, unit key)."""
    from dataclasses import replace

    study = parse_study(table, folder)
    context = replace(build_context(study, home or folder / "state"), **overrides)
    chosen = find_units(context).select(units)
    stages = stages_of(study)
    for whole in study_assets_of(stages).values():
        whole.materialize(context, run)
    found = {}
    graph = Graph(context, stages)
    for stage in stages.values():
        for one in materialize(graph, stage, chosen, run):
            assert (stage.name, one.unit.key) not in found, "announced twice"
            found[stage.name, one.unit.key] = one
        if stage.name == last:
            break
    return found


def run(table: dict, folder: Path, units=()):
    """As `dnd run`, in this process: through Dagster, whose instance lies in the state folder."""
    import os
    from unittest.mock import patch

    from dnd_assets.workflow.run import run as run_study

    with patch.dict(os.environ, {"DAGSTER_HOME": str(folder / "state" / "dagster")}):
        return run_study(parse_study(table, folder), folder / "state", units, log=lambda _: None)


def label_alone(study, home: Path, asset: str, units=(), run="run"):
    """Materialize one asset that rests on the probing set alone; context, and announcements."""
    context = build_context(study, home)
    stages = stages_of(study)
    probing_set.materialize(context, run)
    chosen = find_units(context).select(units)
    found = materialize(Graph(context, stages), stages[asset], chosen, run)
    return context, {(asset, one.unit.key): one for one in found}


def statuses(found, asset="labels"):
    """Status by unit key."""
    return {key: one.record.status for (name, key), one in found.items() if name == asset}


def computed(found):
    """The (asset, unit) pairs that were computed, not reused."""
    return {pair for pair, one in found.items() if not one.record.reused}


def versions(found):
    """Data version by (asset, unit)."""
    return {pair: one.product.data_version for pair, one in found.items()}
