"""Pictures of docs/inputs.md and docs/sae.md, made of what the repository makes itself.

`python -m benchmarks.doc_pictures [FOLDER]` writes `inputs.png` and `sae.png`;
the folder is `docs` unless another is named. It takes a minute and no model but the embedded ones.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from dnd_assets.files.images import decode
from dnd_assets.files.rasters.reading import Reading, Rendering
from dnd_assets.known_answers.planted_dictionary import latent_truths
from dnd_assets.known_answers.world import write_probing_set
from resources.runtime.compute import Compute
from resources.targets.networks import TargetNetworks

SIDE, GAP = 180, 8
LATENTS_SHOWN, EXEMPLARS, IMAGES = 4, 6, 384
Pixels = NDArray[np.uint8]


def main(folder: Path) -> None:
    """Write all of them."""
    for name, rows in {"inputs": [inputs()], "sae": latents()}.items():
        _grid(rows).save(folder / f"{name}.png", optimize=True)
        sys.stdout.write(f"{folder / name}.png\n")


def inputs() -> list[Pixels]:
    """A picture of 12 bits in 16, cut down and shown; a tile of four bands, and its infrared."""
    ray, tile = _ray(), _tile()
    shown = np.asarray(decode(_npy(ray)))
    cut = np.repeat((ray >> 8).astype(np.uint8)[..., None], 3, axis=2)
    infrared = Reading(rendering=Rendering(bands=(4,), colour_map="viridis"))
    return [
        cut, shown, np.asarray(decode(_npy(tile))), np.asarray(decode(_npy(tile), reading=infrared))
    ]  # fmt: skip


def latents() -> list[list[Pixels]]:
    """Exemplars of some latents of the planted dictionary, a row each, with their maps."""
    truths = {n: one for n, one in latent_truths().items() if one.kind != "dead"}
    file = "package:dnd_assets.known_answers/checkpoints/dictionary"
    source = "module:dnd_assets.known_answers.planted_dictionary:mixed_world_net"
    coding = {"path": "mixed", "kind": "sae", "file": file}
    model = {"name": "mixed", "source": source, "codings": [coding]}
    nets = TargetNetworks(models=[model], compute=Compute(device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_probing_set(Path(folder), IMAGES, 0)
        images = [Image.open(path).convert("RGB") for path in paths]
    codes = nets.activations("mixed", {"mixed": "auto"}, images)["mixed"]
    rows = []
    for latent in sorted(truths)[:LATENTS_SHOWN]:
        best = np.argsort(-codes[:, latent], kind="stable")[:EXEMPLARS]
        some = [images[place] for place in best]
        maps = nets.maps("mixed", [("mixed", latent)], some)["mixed", latent]
        rows.append([_overlaid(one, heat) for one, heat in zip(some, maps, strict=True)])
    return rows


def _overlaid(image: Image.Image, heat: NDArray[np.float32] | None) -> Pixels:
    """A picture, darker where its latent is silent."""
    pixels = np.asarray(image.resize((SIDE // 2, SIDE // 2), Image.Resampling.NEAREST), np.float64)
    assert heat is not None, "latents of maps have maps"
    scaled = Image.fromarray((heat / max(float(heat.max()), 1e-9)).astype(np.float32))
    over = np.asarray(scaled.resize(pixels.shape[1::-1], Image.Resampling.BILINEAR))[..., None]
    return np.asarray(pixels * (0.25 + 0.75 * np.clip(over, 0, 1)), np.uint8)


def _ray() -> NDArray[np.uint16]:
    """What looks like a radiograph: ribs and a spine, of 12 bits."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    body = np.exp(-((columns / 0.35) ** 6) - (rows / 0.42) ** 6)
    lungs = np.exp(-(((np.abs(columns) - 0.17) / 0.1) ** 4) - (rows / 0.3) ** 4)
    ribs = (np.sin(rows * 70 + 6 * np.abs(columns)) > 0.6) * lungs
    spine = np.exp(-((columns / 0.04) ** 2))
    noise = gaussian_filter(rng.normal(size=rows.shape), 2)
    values = 600 + 1700 * body - 900 * lungs + 350 * ribs + 700 * spine * body + 250 * noise
    return np.clip(values, 0, 4095).astype(np.uint16)


def _tile() -> Pixels:
    """A tile of red, green, blue and infrared: woods, fields and a river."""
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    wood = gaussian_filter(rng.normal(size=rows.shape), 22) > 0
    river = np.abs(rows - SIDE / 2 - 30 * np.sin(columns / 28)) < 7
    grain = gaussian_filter(rng.normal(size=rows.shape), 3) * 30
    bands = [
        np.where(river, low, np.where(wood, one, other)) + grain * share
        for low, one, other, share in ((35, 55, 110, 0.4), (55, 105, 85, 0.4), (95, 55, 55, 0.2),
                                       (15, 200, 110, 1.0))
    ]  # fmt: skip
    return np.clip(np.stack(bands), 0, 255).astype(np.uint8)


def _npy(values: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _grid(rows: list[list[Pixels]]) -> Image.Image:
    height, width = rows[0][0].shape[:2]
    size = (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP)
    found = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            found.paste(Image.fromarray(one), (x * (width + GAP), y * (height + GAP)))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
