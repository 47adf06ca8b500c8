"""Weights named by file: whose preprocessing is used, and what is said where it is a guess."""

import contextlib

import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from torchvision import models

from dnd_assets.errors import StudyError
from resources.checkpoints import file_hash
from resources.runtime import model_cache
from resources.targets.model_zoos import _torchvision_shape
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks
from resources.targets.published import Training, of_timm, of_torchvision, torchvision_shape
from tests.resources import tiny

NAMES = models.list_models(module=models)
EVERY = [(name, one) for name in NAMES for one in models.get_model_weights(name)]


def _traits(module):
    """What the parameters do not tell, and their shapes."""
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    kept = {name: shape for name, shape in shapes.items() if not name.lower().startswith("aux")}
    return getattr(module, "transform_input", None), getattr(module, "image_size", None), kept


def test_a_published_file_is_built_as_torchvision_builds_its_tag(monkeypatch):
    """Of every architecture whose builder looks at the weights, with each of its weights."""
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    looked = [one for one in EVERY if one[0].startswith(("vit_", "inception", "googlenet"))]
    assert len(looked) >= 12
    for name, chosen in looked:
        monkeypatch.setattr(type(chosen), "get_state_dict", lambda *_, **__: {})
        with torch.device("meta"):
            theirs = models.get_model(name, weights=chosen)
            ours = _torchvision_shape(name, Training(chosen)).build()
        assert _traits(ours.module) == _traits(theirs), chosen
        assert str(ours.transform) == str(chosen.transforms())


def test_no_other_builder_of_torchvision_looks_at_its_weights(monkeypatch):
    """Small ones of each family: with weights and without they are the same network."""
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    small = ("alexnet", "convnext_tiny", "efficientnet_b1", "efficientnet_v2_s", "maxvit_t",
             "mnasnet1_0", "mobilenet_v2", "regnet_y_400mf", "resnet50", "shufflenet_v2_x1_0",
             "squeezenet1_1", "swin_v2_t")  # fmt: skip
    for name in small:
        for chosen in models.get_model_weights(name):
            monkeypatch.setattr(type(chosen), "get_state_dict", lambda *_, **__: {})
            # RegNet works its widths out with tensors, which need numbers.
            with torch.device("cpu" if name.startswith("regnet") else "meta"):
                theirs = models.get_model(name, weights=chosen)
                ours = _torchvision_shape(name, Training(chosen)).build()
            assert _traits(ours.module) == _traits(theirs), chosen


@contextlib.contextmanager
def _published(monkeypatch, member, file):
    """Within the block, the file is the one that torchvision publishes for these weights."""
    with monkeypatch.context() as patch:
        address = f"https://download.pytorch.org/models/net-{file_hash(file)[:8]}.pth"
        patch.setattr(member.value, "url", address)
        yield


@pytest.mark.parametrize("number", range(0, len(EVERY), 3))
def test_the_file_of_any_tag_is_known_by_its_bytes(monkeypatch, tmp_path, number):
    name, member = EVERY[number]
    file = tmp_path / "renamed.pth"
    file.write_bytes(f"weights of {name} {member.name}".encode())
    with _published(monkeypatch, member, file):
        assert of_torchvision(name, file) == Training(member)
    assert of_torchvision(name, file).assumed


def test_inception_is_prepared_as_its_only_weights_are(tmp_path):
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    found = of_torchvision("inception_v3", file)

    assert found.weights is models.Inception_V3_Weights.IMAGENET1K_V1
    assert torchvision_shape("inception_v3", found.weights) == {"transform_input": True}
    assert found.weights.transforms().crop_size == [299]
    assert "no published file" in found.assumed


def test_a_name_without_its_bytes_is_a_guess_that_is_said(tmp_path):
    member = models.ResNet50_Weights.IMAGENET1K_V2
    file = tmp_path / member.url.rpartition("/")[2]
    file.write_bytes(b"other weights")
    found = of_torchvision("resnet50", file)

    assert found.weights is member
    assert f"its bytes are others (SHA-256 {file_hash(file)[:8]}" in found.assumed


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a MobileNetV2, whose two published weights are prepared differently."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "net.safetensors"
    safetensors.torch.save_file(models.mobilenet_v2().state_dict(), file)
    return file


V1, V2 = models.MobileNet_V2_Weights.IMAGENET1K_V1, models.MobileNet_V2_Weights.IMAGENET1K_V2


def _targets(cpu, file, source):
    return TargetNetworks(
        models=[TargetModel(name="net", source=source, weights=str(file))], compute=cpu
    )


def test_a_published_file_a_declared_one_and_an_unknown_one(cpu, monkeypatch, weights):
    picture = tiny.pictures(1, side=300)[0]
    unknown = _targets(cpu, weights, "torchvision:mobilenet_v2")
    declared = _targets(cpu, weights, "torchvision:mobilenet_v2@IMAGENET1K_V2")
    (said,) = unknown.assumptions("net")
    assert "mobilenet_v2@TAG" in said
    assert "IMAGENET1K_V1, IMAGENET1K_V2" in said
    assert declared.assumptions("net") == []
    wanted = V2.transforms()(picture)
    assert torch.equal(declared.transforms("net")(picture), wanted)
    assert not torch.equal(unknown.transforms("net")(picture), wanted)
    assert declared.fingerprint("net") != unknown.fingerprint("net")
    with _published(monkeypatch, V2, weights):
        known = _targets(cpu, weights, "torchvision:mobilenet_v2")
        assert known.assumptions("net") == []
        assert torch.equal(known.transforms("net")(picture), wanted)
        assert known.categories("net") == V2.meta["categories"]
        with pytest.raises(StudyError, match="IMAGENET1K_V2 of mobilenet_v2, and the source says"):
            _targets(cpu, weights, "torchvision:mobilenet_v2@IMAGENET1K_V1").assumptions("net")


TURNING = """
import builtins

from torch import nn


class Turning(nn.Module):
    def __init__(self, transform_input):
        super().__init__()
        self.transform_input = transform_input
        self.conv = nn.Conv2d(3, 2, 8, 8)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, pixels):
        return self.conv(pixels)


def turning():
    return Turning(builtins.dnd_test_turned)
"""


def test_inceptions_own_normalisation_is_in_the_key(cpu, tmp_path, monkeypatch):
    """Two networks of equal parameters, one of which turns its input into its own scale."""
    (tmp_path / "turning_network.py").write_text(TURNING)
    model = TargetModel(name="net", source="module:turning_network:turning")
    found = []
    for turned in (False, True):
        monkeypatch.setattr("builtins.dnd_test_turned", turned, raising=False)
        model_cache._loaded.clear()  # as in a new process
        targets = TargetNetworks(models=[model], base=str(tmp_path), cards=None, compute=cpu)
        found.append(targets.fingerprint("net"))

    assert found[0]["weights"] == found[1]["weights"]
    assert "transform_input" not in found[0]
    assert found[1]["transform_input"] is True


def test_a_timm_file_is_known_by_its_tag_its_bytes_or_its_place(tmp_path):
    name = "mobilenetv3_small_050"
    (tag,) = timm.list_pretrained(f"{name}.*")
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"weights")
    found = of_timm(timm, name, file)
    assert (found.weights, "no published file of timm" in found.assumed) == (name, True)
    assert "224 x 224 pixels, bicubic, crop_pct 0.875" in found.assumed
    assert f"if it was trained like it: {tag}" in found.assumed

    config = timm.get_pretrained_cfg(tag)
    place = tmp_path / f"models--{config.hf_hub_id.replace('/', '--')}" / "snapshots" / "c"
    place.mkdir(parents=True)
    cached = place / "model.safetensors"
    cached.write_bytes(b"weights")
    assert of_timm(timm, name, cached) == Training(tag)


def test_a_timm_tag_with_a_file_is_prepared_as_the_tag(cpu, tmp_path):
    """Two tags of one architecture whose pictures are cropped and sized differently."""
    torch.manual_seed(0)
    file = tmp_path / "net.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet10t").state_dict(), file)
    tag = timm.list_pretrained("resnet10t.*")[0]
    declared, bare = _targets(cpu, file, f"timm:{tag}"), _targets(cpu, file, "timm:resnet10t")

    wanted = timm.data.resolve_data_config({}, model=timm.create_model(tag))
    assert str(declared.transforms("net")) == str(timm.data.create_transform(**wanted))
    assert declared.assumptions("net") == []
    assert len(bare.assumptions("net")) == 1


def test_own_code_without_transforms_says_so(cpu, tmp_path):
    (tmp_path / "bare_network.py").write_text("from torch import nn\n\n\nmake = nn.Identity\n")

    def told(module, base=None):
        models_ = [TargetModel(name="net", source=f"module:{module}")]
        return TargetNetworks(models=models_, base=base, compute=cpu).assumptions("net")

    assert told("tests.networks:colour_net") == []
    (said,) = told("bare_network:make", str(tmp_path))
    assert "no function transforms()" in said
