"""A study's state of any size, written by hand: real pictures and records, no model in between."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dnd_assets.engine.context import StudyContext
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import Materialization, Outcome, Product, artefact_row
from dnd_assets.units import Unit

EXEMPLARS, CROPS, CONCEPTS, PAINTED, SIDE = 8, 4, 4, 3, 64
TARGET = {"target": {"source": "made by hand"}, "layer": "any"}
CLIP = {"kind": "open_clip", "model": "made by hand"}
PAINTER = {"kind": "world", "prompt": "One realistic image of {concept}"}
_UPSTREAM = {
    "activations": ("probing_set",), "crops": ("activations",), "captions": ("crops",),
    "candidate_concepts": ("captions",), "synthetic_images": ("candidate_concepts",),
    "scores": ("crops", "synthetic_images"), "labels": ("scores", "candidate_concepts"),
    "clip_dissect_labels": ("probing_set",),
}  # fmt: skip
_WEIGHTS = {
    "activations": {"target": TARGET}, "crops": {"target": TARGET},
    "synthetic_images": {"text_to_image": PAINTER}, "scores": {"target": TARGET, "clip": CLIP},
    "clip_dissect_labels": {"target": TARGET, "clip": CLIP},
}  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """What is written on the units: by the unit's number and a counter."""

    label: Callable[[int], str] = lambda number: f"label {number % 97}"
    caption: Callable[[int], str] = lambda number: f"a picture of number {number % 311}"
    file: Callable[[int], str] = lambda number: f"{number:05d}.jpg"


@dataclass(frozen=True)
class State:
    """A state folder with its pictures.

    Attributes:
        context: the study's context.
        images: hashes of the probing images.
        painted: hashes of the synthetic pictures.
    """

    context: StudyContext
    images: list[str]
    painted: list[str]


def picture(number: int, side: int) -> Image.Image:
    """A picture that no other number has: a shape on a ground, number and all in its colours."""
    rng = np.random.default_rng(number)
    ground = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image = ground.resize((side, side), Image.Resampling.BICUBIC)
    left, top = rng.integers(0, side // 2, 2).tolist()
    colour = tuple(rng.integers(0, 256, 3).tolist())
    ImageDraw.Draw(image).ellipse((left, top, left + side // 3, top + side // 3), fill=colour)
    return image


def fill(
    context: StudyContext,
    folder: Path,
    units: Sequence[Unit],
    images: int = 64,
    paintings: int = 30,
    side: int = 64,
    texts: Texts | None = None,
    vectors: bool = True,
) -> State:
    """Record pictures and all products of some units."""
    texts = texts or Texts()
    found = _images(context, folder, images, side, texts)
    painted = _paintings(context, paintings, side)
    state = State(context, found, painted)
    if vectors:
        _activations(context, units, found)
    for start in range(0, len(units), 200):
        record(state, units[start : start + 200], texts, start)
    return state


def _images(context: StudyContext, folder: Path, count: int, side: int, texts: Texts) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        buffer = io.BytesIO()
        picture(number, side).save(buffer, "JPEG", quality=88)
        path = folder / texts.file(number)
        path.write_bytes(buffer.getvalue())
        rows.append({
            "hash": sha256(buffer.getvalue()), "path": str(path), "width": side, "height": side,
            "mode": "RGB", "format": "JPEG", "bytes": len(buffer.getvalue()), "quarantined": "",
        })  # fmt: skip
    context.lineage.commit({"images": rows})
    return sorted(row["hash"] for row in rows)


def _paintings(context: StudyContext, count: int, side: int) -> list[str]:
    found: list[str] = []
    for start in range(0, count, 100):
        some = [picture(10**6 + n, side) for n in range(start, min(start + 100, count))]
        found += context.pictures.keep(some)[1]
    return found


def _activations(context: StudyContext, units: Sequence[Unit], images: Sequence[str]) -> None:
    """Stored activations, one wide block for all layers: neurons are numbered within each."""
    width = max(unit.neuron for unit in units) + 1
    values = np.random.default_rng(0).gamma(1.0, 1.0, (len(images), width)).astype(np.float32)
    provider = context.lineage.provider(TARGET)
    for start in range(0, len(images), 1024):
        part = slice(start, start + 1024)
        context.vectors.add("activations", provider, images[part], values[part])


def record(
    state: State, units: Sequence[Unit], texts: Texts, first: int = 0, run: str = "run-1"
) -> None:
    """Record the probing set and all products of some units as a run would."""
    context = state.context
    manifest = context.store.put(canonical(state.images).encode(), "json")
    seen = Outcome("ok", {"manifest": manifest, "images": len(state.images)})
    rows, version = _announced(context, None, "probing_set", seen, {"images": manifest}, run)
    for number, unit in enumerate(units, first):
        versions = {"probing_set": version}
        for asset, content in _contents(state, number, texts).items():
            inputs = {name: versions[name] for name in _UPSTREAM[asset]}
            made = _announced(context, unit, asset, Outcome("ok", content), inputs, run)
            versions[asset] = made[1]
            for table, added in made[0].items():
                rows[table] += added
    rows["providers"] = [
        {"provider": digest(one), "fingerprint": canonical(one)} for one in (TARGET, CLIP, PAINTER)
    ]
    if not context.lineage.query("SELECT 1 FROM runs WHERE run = ?", [run]):
        study = canonical(context.study.model_dump(mode="json"))
        when = f"2026-01-01T00:00:00 {run}"
        rows["runs"] = [
            {"run": run, "study": context.study.name, "recorded_at": when, "definition": study,
             "versions": '{"python":"3.11"}'}
        ]  # fmt: skip
    context.lineage.commit(rows)


def _contents(state: State, number: int, texts: Texts) -> dict[str, dict]:
    rng = np.random.default_rng(number)
    chosen = rng.choice(len(state.images), EXEMPLARS, replace=False).tolist()
    values = sorted(rng.gamma(4.0, 1.0, EXEMPLARS).tolist(), reverse=True)
    exemplars = [
        {"image": state.images[at], "activation": value}
        for at, value in zip(chosen, values, strict=True)
    ]
    crops = [
        {
            "image": one["image"], "crop": digest(["crop", number, place]),
            "box": [8 * place, 8, 8 * place + 24, 40], "threshold": 99, "activation": 1.5,
        }
        for place, one in enumerate(exemplars[:CROPS])
    ]  # fmt: skip
    activating = [
        {"image": one["crop"], "kind": "crop", "activation": one["activation"]} for one in crops
    ] + [{**one, "kind": "image"} for one in exemplars[: EXEMPLARS - CROPS]]
    concepts = [texts.label(number + 31 * place) for place in range(CONCEPTS)]
    concepts = list(dict.fromkeys(concepts))
    painted = {
        concept: [
            {
                "index": index, "seed": 2**63 + index, "rejected": False,
                "image": state.painted[
                    (int(digest(concept)[:8], 16) + index) % len(state.painted)
                ],
            }
            for index in range(PAINTED)
        ]
        for concept in concepts
    }  # fmt: skip
    scored = [
        {
            "concept": concept, "score": round(0.9 - 0.2 * place - (number % 13) / 50, 6),
            "mean_rank": -1.0 - place, "activations": [1.0, 0.5, 0.25],
        }
        for place, concept in enumerate(concepts)
    ]  # fmt: skip
    labels = [{"label": one["concept"], "score": one["score"]} for one in scored]
    near = [{"label": texts.label(number + 1), "score": 0.2 - (number % 7) / 50}]
    return {
        "activations": {"exemplars": exemplars},
        "crops": {"crops": crops, "activating": activating},
        "captions": {
            "captions": [
                {"image": one["image"], "caption": texts.caption(number + place)}
                for place, one in enumerate(activating)
            ]
        },
        "candidate_concepts": {"candidates": concepts},
        "synthetic_images": {
            "concepts": [{"concept": c, "images": images} for c, images in painted.items()]
        },
        "scores": {"concepts": scored},
        "labels": {**labels[0], "labels": labels[:3]},
        "clip_dissect_labels": {**near[0], "labels": near, "interpretable": number % 7 < 3},
    }


def _announced(
    context: StudyContext, unit: Unit | None, asset: str, outcome: Outcome, inputs: dict, run: str
) -> tuple[dict, str]:
    weights = {name: digest(value) for name, value in _WEIGHTS.get(asset, {}).items()}
    settings = {"crop_size": SIDE} if asset == "crops" else {}
    image = preimage(asset, f"code of {asset}", settings, weights, inputs)
    key = digest([image, str(unit), outcome.data_version])
    product = Product(key, asset, image, outcome)
    row = Materialization(
        run=run, study=context.study.name, asset=asset, unit=unit.key if unit else "",
        model=unit.model if unit else "", layer=unit.layer if unit else "",
        neuron=unit.neuron if unit else None, key=key, data_version=product.data_version,
        code_version=image["code"], status=outcome.status, reason=outcome.reason, reused=False,
        device="cpu", seconds=0.5, recorded_at=f"2026-01-01T00:00:00 {run}",
    )  # fmt: skip
    return {"products": [product.row()], "materializations": [row.row()]}, product.data_version


def heat_map(context: StudyContext, unit: Unit, image: str) -> None:
    """Store a heat map of an exemplar, as `dnd report --heat-maps` does."""
    from dnd_assets.engine.cache.heat_maps import MAPS, map_item
    from dnd_assets.engine.cache.shared_results import shared_row

    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(buffer, "PNG")
    pack, (name,) = context.store.put_pack([buffer.getvalue()])
    row = shared_row(
        MAPS, digest(TARGET), map_item(image, unit.neuron, SIDE), {"file": pack, "map": name}
    )
    artefact = artefact_row(name, pack, "png", len(buffer.getvalue()))
    context.lineage.commit({"shared": [row], "artefacts": [artefact]})
