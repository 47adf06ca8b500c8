"""`dnd doctor`: what a study needs, and whether it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dnd_assets.bench import build_bench, find_units
from dnd_assets.concepts import study_concepts
from dnd_assets.errors import DndError
from dnd_assets.mask_sets import read_masks
from dnd_assets.probing_set import image_paths
from dnd_assets.stage import LIBRARIES
from dnd_assets.study import Study
from dnd_assets.units import by_layer
from dnd_assets.workbench import Workbench

_GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    good: bool = True


def examine(study: Study, home: Path) -> list[Finding]:
    """Look at everything a run of the study needs; nothing is computed and nothing raised."""
    bench = build_bench(study, home)
    return [
        Finding("study", f"{study.name}: {study.description}"),
        Finding("libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)),
        _look("device", bench.compute.name),
        _look("probing set", lambda: f"{len(image_paths(study, home)):,} image files"),
        _look("units", lambda: _units(bench)),
        _look("captioner", lambda: _there(bench.captioner.check, bench.captioner.title())),
        _look("summariser", lambda: _there(bench.summariser.check, study.summariser.kind)),
        _look(
            "text to image", lambda: _there(bench.text_to_image.check, bench.text_to_image.title())
        ),
        _look("image-text encoder", lambda: _there(bench.clip.check, bench.clip.title())),
        *_concepts(study),
        *_masks(study, home),
        *_evaluation(bench),
        _look("state folder", lambda: _state(bench)),
    ]


def _concepts(study: Study) -> list[Finding]:
    chosen = study.clip_dissect
    if chosen is None:
        return []
    return [_look("concepts", lambda: f"{len(study_concepts(study, chosen).concepts):,} concepts")]


def _masks(study: Study, home: Path) -> list[Finding]:
    if study.segmentation is None:
        return []
    return [_look("masks", lambda: f"{len(read_masks(study, home).images):,} images with masks")]


def _evaluation(bench: Workbench) -> list[Finding]:
    study, encoder = bench.study, bench.sentences
    if study.evaluation is None:
        return []
    found = [
        _look(
            "held-out images",
            lambda: f"{len(image_paths(study, bench.home, 'evaluation')):,} image files",
        )
    ]
    if encoder is not None:
        found.append(_look("sentence encoder", lambda: _there(encoder.check, encoder.model)))
    return found


def _look(what: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(what, find())
    except DndError as error:
        return Finding(what, str(error), good=False)


def _there(check: Callable[[], object], name: str) -> str:
    check()
    return name


def _units(bench: Workbench) -> str:
    groups = by_layer(find_units(bench).values())
    return ", ".join(f"{model}/{layer}: {len(units):,}" for (model, layer), units in groups.items())


def _state(bench: Workbench) -> str:
    free = shutil.disk_usage(bench.home).free / _GIGABYTE
    done = bench.lineage.query("SELECT count(*) AS n FROM products")[0]["n"]
    return f"{bench.home}: {done:,} products, {free:.0f} GB free"
