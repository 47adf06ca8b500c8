"""A real pretrained network on real photographs: all seven products, exemplars that make sense."""

import shutil

import numpy as np
import pytest

from dnd_assets.bench import build_bench
from dnd_assets.study import parse_study
from tests import studies

# Classes with a clear colour, so that a test can tell whether exemplars are right without labels:
# others would need eyes.
GREEN = 984  # rapeseed
PACKAGE = "package:dnd_assets.known_answers/checkpoints"
IMAGES = 90


@pytest.fixture(scope="module")
def scenes(shared_dir, tmp_path_factory):
    """Every tenth of the scenes, copied so that the study's folder is its own."""
    folder = tmp_path_factory.mktemp("scenes")
    found = sorted((shared_dir / "photos" / "scenes").glob("*.jpg"))
    if len(found) < IMAGES:
        pytest.skip(f"{len(found)} scenes in {shared_dir}; {IMAGES} are needed")
    (folder / "images").mkdir()
    for path in found[:: len(found) // IMAGES][:IMAGES]:
        shutil.copy(path, folder / "images")
    return folder


@pytest.fixture(scope="module")
def labelled_scenes(scenes, one_thread):
    table = {
        "name": "scenes",
        "models": [
            {
                "name": "lite0",
                "source": "efficientnet-lite:efficientnet-lite0",
                "layers": [
                    {"path": "_blocks.12", "neurons": {"sample": 10, "seed": 0}},
                    {"path": "_fc", "neurons": [*range(970, 979), GREEN]},
                ],
            }
        ],
        "probing_set": {"folders": ["images"]},
        "dissection": {"images_per_concept": 2, "candidates": 2, "crop_size": 224},
        "captioner": {"checkpoint": f"{PACKAGE}/captioner"},
        "text_to_image": {
            "checkpoint": f"{PACKAGE}/text_to_image",
            "steps": 4,
            "guidance": 3.0,
        },
        "clip": {"model": f"{PACKAGE}/clip", "pretrained": ""},
        "compute": {"device": "cpu", "batch": {"target": 16, "text_to_image": 16}},
    }
    return table, studies.label(table, scenes)


def test_all_seven_products_of_twenty_units(labelled_scenes):
    _, found = labelled_scenes
    status = studies.statuses(found)
    assert len(status) == 20
    assert set(status.values()) == {"ok"}
    assert len(found) == 7 * 20


def test_only_the_block_has_crops_and_they_fire_more(labelled_scenes):
    _, found = labelled_scenes
    gains = []
    for (asset, key), one in found.items():
        if asset != "crops":
            continue
        payload = one.product.payload
        if "_fc" in key:
            assert payload["crops"] == []
            continue
        whole = found["activations", key].product.payload["exemplars"]
        gains.append(payload["activating"][0]["activation"] - whole[0]["activation"])
    assert sum(gain > 0 for gain in gains) >= 3, "attention crops beat the best whole image"
    assert min(gains) >= 0


def test_exemplars_of_a_green_class_are_greener_than_the_rest(labelled_scenes, scenes):
    table, found = labelled_scenes
    bench = build_bench(parse_study(table, scenes), scenes / "state")

    def greenness(names):
        pixels = [np.asarray(image, dtype=float) for image in bench.pictures.load(names)]
        return np.mean([p[..., 1].mean() - (p[..., 0] + p[..., 2]).mean() / 2 for p in pixels])

    payload = found["activations", f"lite0/_fc/{GREEN}"].product.payload
    chosen = [entry["image"] for entry in payload["exemplars"]]
    rows = bench.lineage.query("SELECT DISTINCT hash FROM images")
    assert greenness(chosen) > greenness([row["hash"] for row in rows]) + 5
