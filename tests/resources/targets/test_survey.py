"""What is refused before a network is used: random passes, company, memory, odd transforms."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from dnd_assets.errors import StudyError
from resources.runtime import model_cache
from resources.targets.cards import NetworkInfo
from resources.targets.networks import TargetNetworks
from resources.targets.pixels import check_range, check_repeats, checked
from resources.targets.survey import look, other_size
from tests.resources import layer_nets as nets

OWN = "module:tests.resources.layer_nets"


def survey(module):
    torch.manual_seed(0)
    module.eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        return look(module, module, pixels[:1], pixels[1:])


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("training", r"'drop' \(Dropout\) is in training mode.*`train\(\)`"),
        ("dropout", r"'last' \(Identity\).*In the network itself, dropout \(aten\..*training="),
        ("noise", r"In the network itself, a random number \(aten\.randn\)"),
        ("masked", r"hides patches at random.*mask_ratio = 0\.5.*encoder alone"),
        ("memory", r"for the same picture each time|keeps something from pass to pass"),
        ("company", r"'norm' \(BatchNorm2d\) gives other activations.*another is in its batch"),
    ],
)
def test_networks_that_are_not_the_same_twice(how, cause):
    with pytest.raises(StudyError, match=cause):
        survey(nets.Random(how))


def test_random_in_one_pass_of_some_is_found_too():
    with pytest.raises(StudyError, match="same picture each time"):
        survey(nets.Rare())


def test_a_sound_network_is_surveyed_and_random_numbers_are_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    network = nets.Random("nothing").eval()
    after_building = torch.get_rng_state()

    with torch.inference_mode():
        found = look(network, network, torch.ones(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))

    assert torch.equal(after_building, torch.get_rng_state())
    assert not torch.equal(state, after_building)
    assert found.pixels == (3, 64, 64)
    assert not found.spoiled
    assert found.seen["patches"].larger == (1, 8, *(side // 8 for side in other_size(64, 64)))


def test_masked_autoencoders_of_transformers_are_refused():
    from transformers import ViTMAEConfig, ViTMAEModel

    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=64, patch_size=16,
    )  # fmt: skip
    model = ViTMAEModel(config)

    with pytest.raises(StudyError, match=r"hides patches at random.*mask_ratio = 0\.75"):
        survey(model)


def test_what_a_network_does_not_take_is_said_in_words():
    network = nn.Sequential(nn.Conv2d(1, 4, 3))

    with pytest.raises(StudyError, match="takes 1 channels, the transform gives 3"):
        survey(network)


def picture():
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"a numpy array of uint8, \(8, 8, 3\), not a tensor"),
        (picture(), "a picture of Pillow, not a tensor"),
        ({"pixel_values": [torch.zeros(3, 8, 8)]}, r"dict with 'pixel_values' \(take \['pixel_v"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"whole numbers \(torch\.uint8"),
        (torch.zeros(1, 3, 8, 8), r"a batch, \(1, 3, 8, 8\).*Leave out its last step"),
        (torch.zeros(40, 50, 3), r"\(height, width, channels\), \(40, 50, 3\).*permute"),
        (torch.zeros(8, 8), r"a tensor of shape \(8, 8\)"),
        (torch.zeros(3, 0, 8), r"a tensor of shape \(3, 0, 8\)"),
        (None, "gives NoneType, not a tensor"),
    ],
)
def test_what_a_transform_gives_is_checked(value, said):
    with pytest.raises(StudyError, match=said):
        checked(value)


def test_other_floating_point_becomes_float32():
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        assert checked(torch.ones(3, 4, 5, dtype=kind)).dtype is torch.float32
    image = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture())
    assert type(checked(image)) is torch.Tensor


@pytest.mark.parametrize(
    ("low", "high", "allowed", "said"),
    [
        (0.0, 255.0, None, "pixels from 0 to 255.*scale=True.*PIXEL_RANGE"),
        (0.0, 1 / 255, None, "nearly without contrast"),
        (0.0, float("nan"), None, "NaN or infinite"),
        (0.0, 300.0, (0.0, 255.0), "from 0 to 255 are expected"),
    ],
)
def test_pixels_out_of_range(low, high, allowed, said):
    pixels = torch.tensor([low, high]).reshape(1, 1, 2)
    with pytest.raises(StudyError, match=said):
        check_range(pixels, allowed)


def test_pixels_within_range():
    check_range(torch.tensor([-2.1, 2.6]).reshape(1, 1, 2), None)
    check_range(torch.tensor([-128.0, 151.0]).reshape(1, 1, 2), (-128.0, 152.0))


@pytest.mark.parametrize(
    "step",
    [v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(0.01), v2.ColorJitter(0.5)],
)
def test_random_transforms_are_refused_and_named(step):
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    with pytest.raises(StudyError, match=rf"{type(step).__name__}.*CenterCrop"):
        check_repeats(v2.Compose([step, *end]))
    check_repeats(v2.Compose([v2.Resize(32), v2.CenterCrop(32), *end]))


def networks(cpu, name, tmp_path=None, layouts=()):
    model = {"name": "net", "source": f"{OWN}:{name}", "layouts": list(layouts)}
    return TargetNetworks(models=[model], cards=tmp_path and str(tmp_path), compute=cpu)


def test_errors_of_the_survey_name_the_network(cpu):
    with pytest.raises(StudyError, match="network 'net': the network gives other"):
        networks(cpu, "masked").layers("net")


def test_each_pass_is_compared_with_the_survey(cpu):
    target = networks(cpu, "growing")
    white = PIL.Image.new("RGB", (64, 64), (255, 255, 255))

    assert target.activations("net", {"norm": "auto"}, [picture()])["norm"].shape == (1, 8)
    with pytest.raises(StudyError, match=r"'norm' of 'net' gives \(1, 65, 8\).*\(1, 64, 8\)"):
        target.activations("net", {"norm": "auto"}, [white])
    with pytest.raises(StudyError, match=r"\(1, 65, 8\)"):
        target.maps("net", [("norm", 0)], [white])


RESIZED_ONLY = """
import torch
from torchvision.transforms import v2

from tests.resources.layer_nets import any_size


def transforms():
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([v2.Resize(64), *to_tensor])
"""


def test_a_transform_of_another_size_is_refused(cpu, tmp_path):
    (tmp_path / "resized_only.py").write_text(RESIZED_ONLY)
    model = {"name": "net", "source": "module:resized_only:any_size"}
    target = TargetNetworks(models=[model], base=str(tmp_path), compute=cpu)

    with pytest.raises(StudyError, match=r"\(3, 64, 80\) for a picture of 50 x 40 pixels"):
        target.activations("net", {"patches": "auto"}, [picture()])


def test_maps_and_means_of_tokens_against_the_convolution(cpu):
    target = networks(cpu, "tokens")
    module = target._network("net").module
    pixels = target.transforms("net")(picture().convert("RGB"))[None]
    with torch.inference_mode():
        tokens = module(pixels)

    means = target.activations("net", {"norm": "auto"}, [picture()])["norm"]
    (found,) = target.maps("net", [("norm", 3)], [picture()])["norm", 3]

    assert np.allclose(means, tokens[:, 1:].mean(dim=1), rtol=1e-3, atol=1e-4)  # not the first one
    assert np.allclose(found, tokens[0, 1:, 3].reshape(8, 8), rtol=1e-3, atol=1e-4)
    declared = networks(cpu, "tokens", layouts=[{"path": "norm", "prefix_tokens": 1}])
    token = declared.activations("net", {"norm": "class_token"}, [picture()])["norm"]
    assert np.allclose(token, tokens[:, 0], rtol=1e-3, atol=1e-4)


def cards_in(folder):
    """Cards of networks, without the notes of what own code used."""
    return [file for file in folder.glob("*.json") if not file.name.endswith(".seen.json")]


def test_a_card_of_an_earlier_version_is_made_anew(cpu, tmp_path):
    model_cache._loaded.clear()  # as in a new process
    target = networks(cpu, "ordered", tmp_path)
    first = target.layers("net")
    (file,) = cards_in(tmp_path)
    card = json.loads(file.read_text())
    for layer in card["layers"]:
        for name in ("layout", "raw", "known", "reason", "proven"):
            del layer[name]
    del card["pixels"]
    file.write_text(json.dumps(card))

    assert NetworkInfo.read(file) is None
    model_cache._loaded.clear()  # as in a new process
    assert networks(cpu, "ordered", tmp_path).layers("net") == first


def test_a_card_keeps_everything(cpu, tmp_path):
    model_cache._loaded.clear()  # as in a new process
    layers = networks(cpu, "tokens", tmp_path).layers("net")
    (file,) = cards_in(tmp_path)

    assert list(NetworkInfo.read(file).layers) == layers


def test_what_is_declared_is_no_part_of_the_network(cpu):
    plain = networks(cpu, "queries")
    said = networks(cpu, "queries", layouts=[{"path": "norm", "grid": [10, 10]}])

    assert plain.fingerprint("net") == said.fingerprint("net")
    assert plain.layout("net", "norm") != said.layout("net", "norm")
    assert said.check("net", "norm").has_map
    assert not plain.check("net", "norm").has_map


class Sticky(nn.Module):
    """Remembers the size of the last picture of another size."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.last = 64

    def forward(self, images):
        if images.shape[2] != 64:
            self.last = images.shape[2]
        return self.patches(images) * self.last


def test_a_network_that_keeps_another_size_is_loaded_anew():
    assert survey(Sticky()).spoiled
