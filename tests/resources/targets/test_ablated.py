"""Networks without some of their units, against what is worked out by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dnd_assets.errors import StudyError
from resources.runtime.compute import Compute
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks
from tests.methods.sae import written
from tests.networks import BLUE, DEAD, GREEN, RED

SIDE = 16


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(5)
    made = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(5)]
    return [Image.fromarray(one) for one in made]


def targets(source):
    model = TargetModel(name="net", source=f"module:tests.{source}")
    return TargetNetworks(models=[model], compute=Compute(device="cpu"))


def colours(pictures):
    """Redness, greenness, blueness of each picture, worked out anew."""
    weights = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]])
    found = [
        np.maximum(np.asarray(one, np.float64) / 255 @ weights.T, 0).mean(axis=(0, 1))
        for one in pictures
    ]
    return np.stack(found)


@pytest.mark.parametrize(
    ("source", "scale", "grown"),
    [("classifiers:colour_classifier", 20.0, True), ("networks:chooser_net", 1.0, False)],
)
def test_zero_mean_and_resampled_units_by_hand(source, scale, grown, pictures):
    """Each class is the mean of one unit, times a number: its score becomes what stands there."""
    net, plain = targets(source), colours(pictures)
    assert net._ablating("net", "colours").grown is grown, "both ways are tried"
    groups = [(), (RED,), (GREEN, BLUE)]
    donors = [1, 2, 3, 4, 0]
    means = net.values_replaced("net", "colours", pictures).mean(axis=0)
    np.testing.assert_allclose(means[:3], plain.mean(axis=0), rtol=1e-4)
    cases = {
        "zero": (np.zeros(4), None, np.zeros((5, 3))),
        "mean": (means, None, np.tile(plain.mean(axis=0), (5, 1))),
        "resample": (None, donors, plain[donors]),
    }
    for fill, given, instead in cases.values():
        found = net.outputs_without("net", "colours", groups, pictures, fill, given)
        wanted = np.stack([plain] * 3)
        wanted[1, :, RED] = instead[:, RED]
        wanted[2, :, [GREEN, BLUE]] = instead[:, [GREEN, BLUE]].T
        np.testing.assert_allclose(found[:, :, :3], scale * wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("source", ["classifiers:colour_classifier", "networks:chooser_net"])
def test_a_dead_unit_changes_nothing_in_whatever_way_it_is_ablated(source, pictures):
    net = targets(source)
    means = net.values_replaced("net", "colours", pictures).mean(axis=0)
    for fill, donors in ((np.zeros(4), None), (means, None), (None, [1, 0, 0, 0, 0])):
        whole, dead = net.outputs_without("net", "colours", [(), (DEAD,)], pictures, fill, donors)
        assert np.array_equal(whole, dead)


@pytest.mark.parametrize("source", ["classifiers:colour_classifier", "networks:chooser_net"])
def test_no_result_depends_on_the_other_groups_or_their_order(source, pictures):
    net = targets(source)
    many = [(n % 3,) for n in range(70)]
    together = net.outputs_without("net", "colours", many, pictures, np.zeros(4))
    for start in (0, 1, 33, 69):
        alone = net.outputs_without("net", "colours", [many[start]], pictures, np.zeros(4))
        assert np.array_equal(alone[0], together[start])
    turned = net.outputs_without("net", "colours", many[::-1], pictures, np.zeros(4))
    assert np.array_equal(turned[::-1], together)
    fewer = net.outputs_without("net", "colours", many[:3], pictures[2:3], np.zeros(4))
    assert np.array_equal(fewer[:, 0], together[:3, 2])


def test_a_network_without_ablation_is_the_network(pictures):
    for source in ("classifiers:colour_classifier", "networks:chooser_net"):
        net = targets(source)
        (whole,) = net.outputs_without("net", "colours", [()], pictures, np.zeros(4))
        np.testing.assert_allclose(whole, net.outputs("net", pictures), rtol=2**-13)


def test_no_hook_stays_behind(pictures):
    net = targets("classifiers:colour_classifier")
    before = net.outputs("net", pictures)
    net.outputs_without("net", "colours", [(RED,)], pictures, np.zeros(4))
    assert np.array_equal(net.outputs("net", pictures), before)


def test_an_unknown_neuron_is_named(pictures):
    from dnd_assets.errors import NotFoundError

    with pytest.raises(NotFoundError, match="colours/9"):
        targets("classifiers:colour_classifier").outputs_without(
            "net", "colours", [(9,)], pictures, np.zeros(4)
        )


def test_a_network_that_returns_maps_is_refused(pictures):
    with pytest.raises(StudyError, match="scores of classes"):
        targets("networks:Colours").outputs_without("net", "conv", [(0,)], pictures, np.zeros(4))


class Residual(torch.nn.Module):
    """A layer with a way around it, whose rows therefore meet those before it."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return (images + self.inner(images)).mean(dim=(2, 3))


def residual():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Residual().eval()


def transforms():
    kind = torch.float32
    return v2.Compose([v2.Resize((SIDE, SIDE)), v2.ToImage(), v2.ToDtype(kind, scale=True)])


def test_a_way_around_the_layer_keeps_the_pictures_own_values(pictures):
    """Of a donor only what the layer gives is taken, not what goes around it."""
    model = TargetModel(name="net", source="module:tests.resources.targets.test_ablated:residual")
    net = TargetNetworks(models=[model], compute=Compute(device="cpu"))
    assert net._ablating("net", "inner").grown
    donors = [2, 3, 4, 0, 1]
    found = net.outputs_without("net", "inner", [(0, 2)], pictures, None, donors)[0]
    pixels = torch.stack([transforms()(one) for one in pictures])
    with torch.inference_mode():
        own = residual().inner(pixels).mean(dim=(2, 3)).numpy()
    wanted = own.copy()
    wanted[:, [0, 2]] = own[donors][:, [0, 2]]
    np.testing.assert_allclose(found, pixels.mean(dim=(2, 3)).numpy() + wanted, rtol=1e-3)


class Coded(torch.nn.Module):
    """Mean colours to 16 numbers, on which an autoencoder is attached, to three classes."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(3, written.WIDTH)
        self.mid = torch.nn.Identity()
        self.down = torch.nn.Linear(written.WIDTH, 3)

    def forward(self, images):
        return self.down(self.mid(self.up(images.mean(dim=(2, 3)))))


def coded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Coded().eval()


def test_latents_are_ablated_in_the_network(pictures, tmp_path):
    """Scores without latents: what the autoencoder wrote of them is taken from the vector."""
    place = written.saelens_topk(tmp_path / "sae").place
    model = {
        "name": "net", "source": "module:tests.resources.targets.test_ablated:coded",
        "codings": [{"path": "up", "kind": "sae", "file": str(place)}],
    }  # fmt: skip
    net, module, p = (
        TargetNetworks(models=[model], compute=Compute(device="cpu")),
        coded(),
        (written.parts()),
    )
    given = torch.stack([net.prepared("net", one) for one in pictures])
    with torch.inference_mode():
        vectors = module.up(given.mean(dim=(2, 3))).double().numpy()
    codes = written.relu(written.topk((vectors - p["c"]) @ p["W"] + p["b"], 3))
    weight, bias = (one.detach().double().numpy() for one in module.down.parameters())
    fires = int(codes.sum(axis=0).argmax())
    groups = [(), (fires,), tuple(range(10))]
    donors = [1, 2, 3, 4, 0]
    means = net.values_replaced("net", "up", pictures).mean(axis=0)
    np.testing.assert_allclose(means, codes.mean(axis=0), rtol=1e-4, atol=1e-5)
    cases = ((None, None, 0.0), (means, None, codes.mean(axis=0)), (None, donors, codes[donors]))
    for fill, others, instead in cases:
        found = net.outputs_without("net", "up", groups, pictures, fill, others)
        for place_of, group in enumerate(groups):
            chosen = list(group)
            change = np.broadcast_to(instead, codes.shape)[:, chosen] - codes[:, chosen]
            moved = vectors + change @ p["D"][chosen]
            np.testing.assert_allclose(
                found[place_of], moved @ weight.T + bias, rtol=2e-3, atol=2e-3
            )
    assert not np.allclose(found[1], found[0], atol=1e-3)
