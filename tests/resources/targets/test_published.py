"""Networks as they are published: Places365's checkpoints, CLIP towers, DINOv2, SigLIP, timm."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dnd_assets.errors import StudyError, TableError
from resources.targets.network_sources import read_categories
from resources.targets.networks import TargetNetworks
from tests.resources import old_pytorch, tiny_vision

PLACES = ["/a/airfield 0", "/a/apartment_building/outdoor 1", "/y/youth_hostel 2"]


def networks(cpu, source, base=None, **more):
    return TargetNetworks(
        models=[{"name": "net", "source": source, **more}], base=base and str(base), compute=cpu
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A ResNet-18 of 365 classes as Places365 publishes it, and its state."""
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("places")
    torch.manual_seed(365)
    state = resnet18(num_classes=365).state_dict()
    old_pytorch.save(folder / "resnet18_places365.pth.tar", state)
    names = [f"/b/place_{i} {i}" for i in range(365)]
    (folder / "categories_places365.txt").write_text("\n".join(names) + "\n")
    return folder, state


def test_a_places365_checkpoint_loads_as_published(places, cpu, photos):
    folder, state = places
    file = folder / "resnet18_places365.pth.tar"
    assert not zipfile.is_zipfile(file)
    assert b"U\x10module.fc.weight" in file.read_bytes()  # a byte string of Python 2

    target = networks(
        cpu,
        "torchvision:resnet18",
        folder,
        weights="resnet18_places365.pth.tar",
        categories="categories_places365.txt",
    )

    loaded = target._network("net").module.state_dict()
    assert loaded["fc.weight"].shape == (365, 512)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert target.units("net", "fc") == 365
    assert target.check("net", "layer4").shape == (512, 7, 7)
    assert target.categories("net")[7] == "place 7"
    assert target.outputs("net", photos[:1]).shape == (1, 365)
    assert target.final_layers("net") == ["fc"]


def test_its_numbers_count_not_its_container(places, cpu):
    folder, state = places
    save_file(state, folder / "places.safetensors")

    old = networks(cpu, "torchvision:resnet18", folder, weights="resnet18_places365.pth.tar")
    new = networks(cpu, "torchvision:resnet18", folder, weights="places.safetensors")
    named = networks(
        cpu,
        "torchvision:resnet18",
        folder,
        weights="places.safetensors",
        categories="categories_places365.txt",
    )

    assert old.fingerprint("net") == new.fingerprint("net") == named.fingerprint("net")
    assert (old.categories("net"), named.categories("net")[1]) == (None, "place 1")


def test_what_runs_code_stays_refused_in_the_old_format_too(places, cpu, tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("ran",))

    _, state = places
    old_pytorch.save(tmp_path / "bad.pth.tar", {"x": state["fc.bias"]}, extra=Payload())

    with pytest.raises(StudyError, match=r"does not load as tensors alone \(it holds .*print"):
        networks(cpu, "torchvision:resnet18", tmp_path, weights="bad.pth.tar").layers("net")


def test_other_differences_than_classes_are_no_other_size(places, cpu, tmp_path):
    _, state = places
    save_file({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.safetensors")

    with pytest.raises(StudyError, match=r"does not fit the network: size mismatch"):
        networks(cpu, "torchvision:resnet18", tmp_path, weights="grey.safetensors").layers("net")


def test_timm_networks_take_their_classes_from_the_weights_too(cpu, tmp_path):
    import timm

    torch.manual_seed(8)
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    save_file(state, tmp_path / "seven.safetensors")

    target = networks(cpu, "timm:test_resnet", tmp_path, weights="seven.safetensors")

    assert target.units("net", "fc") == 7
    assert torch.equal(target._network("net").module.state_dict()["fc.bias"], state["fc.bias"])


def test_categories_must_be_as_many_as_classes(places, cpu):
    folder, _ = places
    (folder / "three.txt").write_text("\n".join(PLACES))
    target = networks(
        cpu,
        "torchvision:resnet18",
        folder,
        weights="resnet18_places365.pth.tar",
        categories="three.txt",
    )

    with pytest.raises(StudyError, match=r"three\.txt names 3 classes, and the network has 365"):
        target.categories("net")
    missing = networks(cpu, "torchvision:resnet18", folder, categories="categories_places.txt")
    with pytest.raises(StudyError, match=r"holds: categories_places365\.txt"):
        missing.layers("net")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("\n".join(PLACES), ["airfield", "apartment building outdoor", "youth hostel"]),
        (
            "\n".join(PLACES[::-1]) + "\n",
            ["airfield", "apartment building outdoor", "youth hostel"],
        ),
        ("crane\ncrane\n maillot \n", ["crane", "crane", "maillot"]),  # as in ImageNet
        ("/a/airfield 0\nno place\n", ["/a/airfield 0", "no place"]),
        ("/a/airfield 1\n/b/bar 2\n", ["/a/airfield 1", "/b/bar 2"]),  # numbered otherwise
    ],
)
def test_files_of_categories(tmp_path, text, names):
    (tmp_path / "names.txt").write_text(text)

    assert read_categories(tmp_path / "names.txt") == names


def test_a_blank_line_names_no_category(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")

    with pytest.raises(TableError, match="line 2, names no class"):
        read_categories(tmp_path / "names.txt")


def test_programs_are_refused_with_what_to_do(cpu, tmp_path):
    network = torch.nn.Linear(2, 2)
    torch.export.save(torch.export.export(network, (torch.zeros(1, 2),)), tmp_path / "n.pt2")
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 2)), tmp_path / "n.pt")
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:  # as PyTorch 2.1 to 2.6 wrote it
        archive.writestr("serialized_exported_program.json", "{}")

    for file, kind in (
        ("n.pt2", r"an archive of torch\.export"),
        ("old.pt2", r"an archive of torch\.export"),
        ("n.pt", "a TorchScript archive"),
    ):
        with pytest.raises(StudyError, match=rf"{kind}.*refused.*save_file\(network\.state_dict"):
            networks(cpu, "torchvision:resnet18", tmp_path, weights=file).layers("net")


def test_an_exported_program_is_no_network(cpu, tmp_path):
    (tmp_path / "exported.py").write_text(
        "import torch\n\n\ndef small_net():\n"
        "    return torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))\n"
    )

    with pytest.raises(StudyError, match=r"gives ExportedProgram; its factory must return"):
        networks(cpu, "module:exported:small_net", tmp_path).layers("net")


def hidden(folder, photos):
    """The model's own last hidden states, (N, T, D), by transformers alone."""
    from transformers import AutoImageProcessor, AutoModel

    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    tower = getattr(model, "vision_model", model).eval()
    pixels = processor([p.convert("RGB") for p in photos], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        return tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1].numpy()


@pytest.mark.parametrize(
    ("make", "layer", "before"),
    [
        ("clip", "encoder.layers.1", 1),
        ("clip_tower", "encoder.layers.1", 1),
        ("dinov2", "encoder.layer.1", 1),
        ("dinov2_with_registers", "encoder.layer.1", 5),
    ],
)
def test_class_token_and_patches_of_vision_towers(make, layer, before, cpu, photos, tmp_path):
    """The class token comes first; registers are neither class token nor part of the map."""
    folder = getattr(tiny_vision, make)(tmp_path / make)
    target, own = networks(cpu, f"hf:{folder}"), hidden(folder, photos)

    found = {
        how: target.activations("net", {layer: how}, photos, 4)[layer]
        for how in ("auto", "class_token", "token_mean", "token_max")
    }
    maps = np.stack(target.maps("net", [(layer, 3)], photos)[layer, 3])

    close = {"rtol": 1e-3, "atol": 1e-4}
    assert own.shape[1] == before + 16
    assert np.array_equal(found["auto"], found["class_token"])
    assert np.allclose(found["class_token"], own[:, 0], **close)
    assert np.allclose(found["token_mean"], own[:, before:].mean(axis=1), **close)
    assert np.allclose(found["token_max"], own[:, before:].max(axis=1), **close)
    assert np.allclose(maps, own[:, before:, 3].reshape(-1, 4, 4), **close)


def test_siglip_has_no_class_token(cpu, photos, tmp_path):
    folder = tiny_vision.siglip(tmp_path / "siglip")
    target, layer = networks(cpu, f"hf:{folder}"), "encoder.layers.1"
    own = hidden(folder, photos)

    found = target.activations("net", {layer: "auto"}, photos, 4)[layer]

    assert target.check("net", layer).shape == (16, 16)
    assert np.allclose(found, own.mean(axis=1), rtol=1e-3, atol=1e-4)
    with pytest.raises(StudyError, match="has no class token"):
        target.activations("net", {layer: "class_token"}, photos)


def test_convnext_gives_maps_and_classes(cpu, photos, tmp_path):
    target = networks(cpu, f"hf:{tiny_vision.convnext(tmp_path / 'convnext')}")

    assert target.check("net", "convnext.encoder.stages.2").shape == (16, 4, 4)
    assert target.units("net", "classifier") == 2
    assert target.categories("net") == ["cat", "dog"]
    assert target.outputs("net", photos[:2]).shape == (2, 2)


def test_registers_alone_are_no_class_token(cpu, photos, tmp_path):
    """A timm network with one register before its patches: the register is never read."""
    import timm

    save_file(timm.create_model("test_vit2").state_dict(), tmp_path / "vit2.safetensors")
    target = networks(cpu, "timm:test_vit2", tmp_path, weights="vit2.safetensors")
    net = target._network("net")
    layout = target.check("net", "blocks.0").layout
    assert (layout.prefix_tokens, net.module.num_reg_tokens) == (1, 1)
    pixels = torch.stack([net.transform(photo.convert("RGB")) for photo in photos[:2]])
    with torch.inference_mode():
        tokens = net.module.blocks[0](net.module._pos_embed(net.module.patch_embed(pixels)))

    found = target.activations("net", {"blocks.0": "auto"}, photos[:2], 1)["blocks.0"]

    assert np.allclose(found, tokens[:, 1:].mean(dim=1), rtol=1e-3, atol=1e-4)
    with pytest.raises(StudyError, match="has registers and no class token"):
        target.activations("net", {"blocks.0": "class_token"}, photos[:1])


def test_wrong_modules_list_the_nearest(cpu):
    with pytest.raises(StudyError, match=r"nearest: tests\.resources\.networks"):
        networks(cpu, "module:tests.resources.network:small_net").layers("net")
    with pytest.raises(StudyError, match=r"cannot import 'torchvison'.*nearest: torchvision"):
        networks(cpu, "module:torchvison:resnet18").layers("net")
