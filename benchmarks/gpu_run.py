"""Runs the product itself on the paper's models, and takes its own notes of time and memory."""

import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from pydantic import PrivateAttr

from benchmarks.paper_models import Size
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.study.study import Study, parse_study
from resources.runtime.model_cache import unload_all
from resources.summarisers.base import Summariser

MATRIX = {"cuda": 8192, "mps": 4096, "cpu": 512}
"""Side of the matrices that the peak is measured with."""
_REPEATS = 20
_WARM = "warming up"
_MEASURED = "measured"
_NOTES = "batch_sizes.json"


@dataclass(frozen=True)
class Setting:
    """One way to paint.

    Attributes:
        name: what it is called.
        painter: which checkpoint: `painter`, or `few_steps`, which has no safety checker.
        steps: denoising steps.
        guidance: weight of guidance; 1 turns it off.
    """

    name: str
    painter: str
    steps: int
    guidance: float

    @property
    def passes(self) -> int:
        """Passes of the denoiser in a step."""
        return 2 if self.guidance > 1 else 1


PAPER_SETTING = Setting("paper", "painter", 50, 7.5)
FEW_STEPS = Setting("few-step", "few_steps", 4, 1.0)


@dataclass(frozen=True)
class Stage:
    """What a run noted of a stage: for all its neurons together, in seconds and bytes."""

    name: str
    neurons: int
    seconds: float
    peak_memory: int


@dataclass(frozen=True)
class Measured:
    """A run of a setting.

    Attributes:
        setting: how it painted.
        stages: in the order they ran in.
        images: probing images.
        work: what was done, by kind, as `dnd plan` counts it.
        batches: images per batch that were used, by role.
    """

    setting: Setting
    stages: list[Stage]
    images: int
    work: dict[str, int]
    batches: dict[str, int]


class OwnConcepts(Summariser):
    """Every unit gets concepts that no other unit has, so that nothing is shared."""

    _numbers: Any = PrivateAttr(default_factory=itertools.count)

    def title(self) -> str:
        """What it is called."""
        return "concepts of its own for each unit"

    def fingerprint(self) -> dict[str, Any]:
        """A name: it stands for any summariser."""
        return {"kind": self.title()}

    def _candidates(self, captions: list[str], n: int, seed: int) -> list[str]:
        return [f"thing number {next(self._numbers)}" for _ in range(n)]


def peak_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large product of matrices: the card's measured peak."""
    side = MATRIX[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = sorted(_timed(lambda: left @ right, device) for _ in range(_REPEATS))
    return 2 * side**3 / seconds[_REPEATS // 2]


def _timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of ten runs' mean, the device's queue emptied before and after."""
    _wait(device)
    begun = time.perf_counter()
    for _ in range(10):
        run()
    _wait(device)
    return (time.perf_counter() - begun) / 10


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def write_images(folder: Path, count: int, width: int = 500, height: int = 375) -> None:
    """Smooth noise as JPEG files, of the size of ImageNet's photographs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (height // 25 or 1, width // 25 or 1, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.filter(ImageFilter.GaussianBlur(1)).save(folder / f"{number:05d}.jpg", quality=90)


def measure(
    setting: Setting,
    size: Size,
    models: dict[str, Path],
    folder: Path,
    neurons: int,
    compute: dict[str, Any],
    small: dict[str, Any],
) -> Measured:
    """Label one neuron to load, compile and find batch sizes, then others, and read the notes.

    Args:
        setting: how to paint.
        size: which models.
        models: their checkpoints.
        folder: holds `images`; the states go beside them.
        neurons: how many to measure.
        compute: section `[compute]` of the study.
        small: changes to section `[dissection]`; empty for the paper's.
    """
    unload_all()
    table = _table(setting, size, models, neurons + 1, compute, small)
    study = parse_study(table, folder)
    warm, state = folder / f"warm-{setting.name}", folder / f"state-{setting.name}"
    _label(study, warm, slice(0, 1), _WARM)
    state.mkdir()
    if (warm / _NOTES).is_file():
        shutil.copy(warm / _NOTES, state)
    context, lines = _label(study, state, slice(1, None), _MEASURED)
    sql = "SELECT asset, units, seconds, peak_memory FROM stage_runs ORDER BY recorded_at"
    stages = [Stage(*row.values()) for row in context.lineage.query(sql)]
    images = len(list((folder / "images").iterdir()))
    return Measured(setting, stages, images, dict(context.tally), _sizes(context, lines))


def _label(study: Study, home: Path, some: slice, run: str) -> tuple[StudyContext, list[str]]:
    lines: list[str] = []
    context = replace(build_context(study, home, lines.append), summariser=OwnConcepts())
    units = list(find_units(context).values())[some]
    stages = stages_of(study)
    for whole in study_assets_of(stages).values():
        whole.materialize(context, run)
    graph = Graph(context, stages)
    for stage in stages.values():
        made = list(materialize(graph, stage, units, run))
        failed = [one for one in made if not one.product.ok]
        if failed:
            reason = failed[0].record.reason
            raise RuntimeError(f"{stage.name} failed for {len(failed)} neurons: {reason}")
    return context, lines


def _sizes(context: StudyContext, lines: list[str]) -> dict[str, int]:
    """Images per batch by role: those of the study, and where it says "auto" those found."""
    from dnd_assets.engine.batch_sizes import with_batch_sizes

    found = with_batch_sizes(context, ["targets", "captioner", "text_to_image", "clip"])
    return found.study.compute.batch.model_dump(exclude={"auto"})


def _table(
    setting: Setting,
    size: Size,
    models: dict[str, Path],
    neurons: int,
    compute: dict[str, Any],
    small: dict[str, Any],
) -> dict[str, Any]:
    layer = {"path": size.layer, "neurons": [f"0-{neurons - 1}"]}
    target = {
        "name": "net",
        "source": f"torchvision:{size.target}",
        "weights": str(models["target"]),
        "layers": [layer],
    }
    return {
        "name": f"gpu-{setting.name}",
        "models": [target],
        "probing_set": {"folders": ["images"]},
        "dissection": small,
        "captioner": {"checkpoint": str(models["blip"])},
        "text_to_image": {
            "checkpoint": str(models[setting.painter]),
            "steps": setting.steps,
            "guidance": setting.guidance,
        },
        "clip": {"model": str(models["clip"]), "pretrained": ""},
        "compute": compute,
    }
