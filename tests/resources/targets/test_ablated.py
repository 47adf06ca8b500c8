"""Networks without some of their units, against what is worked out by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dnd_assets.errors import StudyError
from resources.runtime.compute import Compute
from resources.targets.networks import TargetNetworks
from resources.targets.sources import TargetModel
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
    means = net.unit_means("net", "colours", pictures)
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
    means = net.unit_means("net", "colours", pictures)
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
