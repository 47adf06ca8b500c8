"""CLIP-Dissect from pictures to labels, beside the reference's algorithm and bare forward passes.

ResNet-50's four blocks, 160 and 640 pictures, 1,000 concepts. All with one torch thread, in
processor time. `dnd run` loads and surveys the network in it, and imports the libraries; the
reference loads both networks; the stages alone find ResNet-50 loaded.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmarks import race_network
from benchmarks import race_reference as reference
from benchmarks.pairs import Paired, median_of, ratio_figure, seconds_of
from benchmarks.setting import Figure
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.study.study import parse_study
from tests import commands
from tests.command_line import toml

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGES, MORE_IMAGES, CONCEPTS, BATCH = 160, 640, 1_000, 32
REFERENCE, BARE = 0.7, 1.15
_ASSET = "clip_dissect_labels"


@dataclass(frozen=True)
class Place:
    """What all ways read.

    Attributes:
        folder: holds the study.
        photographs: the pictures.
        clip: folder of the image-text encoder.
        concepts: the concepts.
        method: settings of CLIP-Dissect other than the concepts.
    """

    folder: Path
    photographs: list[Path]
    clip: Path
    concepts: list[str]
    method: dict[str, str] = field(default_factory=dict)

    @classmethod
    def written(cls, folder: Path, images: int = IMAGES, concepts: int = CONCEPTS) -> Place:
        """All of it, in an empty folder."""
        return cls(
            folder,
            race_network.write_photographs(folder / "images", images),
            race_network.write_clip(folder / "clip"),
            race_network.write_concepts(folder / "concepts.txt", concepts),
        )

    def table(self) -> dict[str, object]:
        """The study."""
        source = "torchvision:resnet50"  # random weights, as `race_network.resnet50`
        layers = [{"path": path} for path in race_network.LAYERS]
        batch = dict.fromkeys(("target", "clip"), BATCH)
        return {
            "name": "race",
            "models": [{"name": "resnet50", "source": source, "layers": layers}],
            "probing_set": {"folders": ["images"]},
            "clip": {"model": str(self.clip), "pretrained": ""},
            "clip_dissect": {"concepts": "concepts.txt", **self.method},
            "captioner": {"kind": "own", "source": "tests.light:table"},
            "text_to_image": {"kind": "world"},
            "compute": {"device": "cpu", "batch": batch},
        }


def end_to_end(folder: Path, trials: int = 1, images: int = IMAGES) -> list[Figure]:
    """Ratios of the stages alone and of `dnd run`, to the reference and to bare passes."""
    torch.set_num_threads(1)
    place = Place.written(folder, images)
    seconds: dict[str, list[float]] = {name: [] for name in ("bare", "stages", "other", "run")}
    for trial in range(trials):
        state = folder / f"state{trial}"
        ways: dict[str, Callable[[], float]] = {
            "bare": lambda: seconds_of(bare_passes(place)),
            "stages": lambda state=state: seconds_of(stages_alone(place, state)),
            "other": lambda: seconds_of(lambda: by_reference(place)),
            "run": lambda trial=trial: product_seconds(place, folder / f"home{trial}"),
        }
        for name in (list(ways), list(ways)[::-1])[trial % 2]:
            seconds[name].append(ways[name]())
    what = f"ResNet-50, 3,840 units, {images} pictures, {CONCEPTS:,} concepts"
    return [
        ratio_figure(f"{what}: {ours} / {other}", _beside(seconds, a, b), target)
        for a, ours in (("stages", "our stages"), ("run", "dnd run"))
        for b, other, target in (("other", "reference", REFERENCE), ("bare", "bare passes", BARE))
    ]


def _beside(seconds: dict[str, list[float]], ours: str, other: str) -> Paired:
    return median_of(list(zip(seconds[ours], seconds[other], strict=True)))


def stages_alone(place: Place, state: Path) -> Callable[[], int]:
    """Our stages without Dagster, the command line and the survey of the network's layers.

    The survey is made once for a network, before any stage, and loads it.

    Returns:
        What runs the stages; it tells how many units were labelled.
    """
    study = parse_study(place.table(), place.folder)
    context = build_context(study, state)
    stages = stages_of(study)
    units = list(find_units(context).values())

    def stages_run() -> int:
        stage = stages[_ASSET]
        for study_asset in stage.wholes:
            study_asset.materialize(context, "run")
        found = materialize(Graph(context, stages), stage, units, "run")
        return sum(one.record.status == "ok" for one in found)  # random weights leave some dead

    return stages_run


def product_seconds(place: Place, home: Path) -> float:
    """Processor time of `dnd run` in a process of its own, from nothing to labels."""
    (place.folder / "study.toml").write_text(toml(place.table()))
    environment = {**commands.environment(place.folder), "OMP_NUM_THREADS": "1"}
    environment |= {"DND_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    before = os.times()
    subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "dnd_assets.cli", "run", "--study", "study.toml",
         "--assets", f"+{_ASSET}"],
        cwd=place.folder, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


def by_reference(place: Place) -> int:
    """The authors' way: activations, embeddings and similarities saved, labels written as a table.

    Every picture is read twice, once for each network, as in their program.
    """
    network, (clip, preprocess, tokens) = race_network.resnet50().eval(), _clip(place.clip)
    out = place.folder / "reference"
    out.mkdir(exist_ok=True)
    with torch.inference_mode():
        activations = _pooled(network, place.photographs)
        images = _embedded(clip.encode_image, _batches(place.photographs, preprocess))
        texts = _embedded(clip.encode_text, (
            tokens(place.concepts[start : start + BATCH])
            for start in range(0, len(place.concepts), BATCH)
        ))  # fmt: skip
        for name, values in {**activations, "images": images, "texts": texts}.items():
            np.save(out / f"{name}.npy", values.numpy())
        rows = []
        for path, values in activations.items():
            similarities = reference.soft_wpmi(images @ texts.T, values)
            for unit, best in enumerate(reference.best(similarities, place.concepts)):
                rows.append([path, unit, json.dumps(best)])
    with (out / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return len(rows)


def bare_passes(place: Place) -> Callable[[], object]:
    """The passes of both networks over tensors that are there, in the same batches."""
    network, (clip, _, tokens) = race_network.resnet50().eval(), _clip(place.clip)
    pixels = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    texts = [tokens(place.concepts[start : start + BATCH])
             for start in range(0, len(place.concepts), BATCH)]  # fmt: skip

    def passes() -> None:
        with torch.inference_mode():
            for _ in range(0, len(place.photographs), BATCH):
                network(pixels)
                clip.encode_image(pixels)
            for batch in texts:
                clip.encode_text(batch)

    return passes


def _clip(folder: Path):  # noqa: ANN202 (three objects of open_clip)
    import open_clip

    name = f"local-dir:{folder}"
    clip, preprocess = open_clip.create_model_from_pretrained(name)
    return clip.eval(), preprocess, open_clip.get_tokenizer(name)


def _batches(files: list[Path], prepare: Callable[[Image.Image], Tensor]) -> list[Tensor]:
    stacked = []
    for start in range(0, len(files), BATCH):
        pictures = [Image.open(file).convert("RGB") for file in files[start : start + BATCH]]
        stacked.append(torch.stack([prepare(picture) for picture in pictures]))
    return stacked


def _pooled(network: nn.Module, files: list[Path]) -> dict[str, Tensor]:
    """Means over space of the four blocks, (N, units) each."""
    parts: dict[str, list[Tensor]] = {path: [] for path in race_network.LAYERS}
    for path, module in network.named_children():
        if path in parts:
            kept = parts[path]
            module.register_forward_hook(
                lambda _module, _inputs, output, kept=kept: kept.append(output.mean(dim=[2, 3]))
            )
    for pixels in _batches(files, race_network.transforms()):
        network(pixels)
    return {path: torch.cat(values) for path, values in parts.items()}


def _embedded(encode: Callable[[Tensor], Tensor], batches) -> Tensor:  # noqa: ANN001 (an iterable)
    vectors = torch.cat([encode(batch) for batch in batches]).float()
    return vectors / vectors.norm(dim=-1, keepdim=True)
