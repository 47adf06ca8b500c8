"""Published kinds of networks through the whole workflow, from images to labels."""

import pytest
import torch

from dnd_assets.study.study import parse_study
from resources.lineage_db.database import Lineage
from tests import studies
from tests.resources import old_pytorch, tiny_vision

LAYERS = {"clip": "encoder.layers.1", "dinov2_with_registers": "encoder.layer.1"}


def model(name, source, layers, **more):
    chosen = [{"path": path, "neurons": neurons} for path, neurons in layers.items()]
    return {"name": name, "source": source, "layers": chosen, **more}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, colours):
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("published")
    studies.write_images(folder / "images", count=8)
    models = []
    for name, layer in LAYERS.items():
        getattr(tiny_vision, name)(folder / name)
        models.append(model(name, f"hf:{folder / name}", {layer: [0]}))
    torch.manual_seed(3)
    old_pytorch.save(folder / "places.pth.tar", resnet18(num_classes=365).state_dict())
    (folder / "places.txt").write_text("\n".join(f"/p/place_{i} {i}" for i in range(365)))
    more = {"weights": "places.pth.tar", "categories": "places.txt"}
    models.append(model("places", "torchvision:resnet18", {"layer4": [5], "fc": [364]}, **more))
    table = {**colours, "models": models}
    return studies.label(table, folder), parse_study(table, folder), folder


def test_every_unit_comes_to_its_end(labelled):
    found, _, _ = labelled
    told = studies.statuses(found)

    keys = [f"{name}/{layer}/0" for name, layer in LAYERS.items()]
    assert set(told) == {*keys, "places/layer4/5", "places/fc/364"}
    # Random captioners may say nothing useful; a network that cannot be read ends elsewhere.
    assert set(told.values()) <= {"ok", "no_concepts", "no_captions"}
    assert {status for (name, _), one in found.items() if name == "activations"
            for status in [one.record.status]} == {"ok"}  # fmt: skip


def test_tokens_and_maps_are_cropped_and_vectors_are_not(labelled):
    found, _, _ = labelled
    crops = {key: one.product.payload for (name, key), one in found.items() if name == "crops"}

    kinds = {key: {one["kind"] for one in crop["activating"]} for key, crop in crops.items()}
    assert kinds.pop("places/fc/364") == {"image"}
    assert all(len(crop["activating"]) == 5 for crop in crops.values())
    assert any("crop" in seen for seen in kinds.values())


def test_a_file_of_weights_is_recorded_by_its_hash(labelled):
    from dnd_assets.files.atomic import sha256_file

    _, study, folder = labelled
    rows = Lineage(root=str(folder / "state")).query(
        "SELECT source, revision FROM models WHERE asset = 'activations' AND part = 'places'"
    )

    content = sha256_file(folder / "places.pth.tar")
    source = "torchvision:resnet18 + places.pth.tar"
    assert rows == [{"source": source, "revision": f"sha256:{content[:16]}"}]
    assert study.model("places").categories == "places.txt"
