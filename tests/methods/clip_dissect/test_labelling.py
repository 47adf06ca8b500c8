"""CLIP-Dissect of a layer: the same numbers for a unit in any company."""

import pytest
import torch

from dnd_assets.methods.clip_dissect import labelling, similarity
from dnd_assets.methods.clip_dissect.concept_activation_matrix import ConceptActivationMatrix
from dnd_assets.methods.clip_dissect.labelling import LayerSimilarity, best_labels
from dnd_assets.methods.clip_dissect.similarity import SIMILARITY

SMALL = {"wpmi": {"top_images": 5}, "soft_wpmi": {"top_images": 7}}
IMAGES, CONCEPTS, UNITS = 60, 9, 11


@pytest.fixture
def case():
    """Factors of P, and activations of a layer with a dead and a broken unit."""
    random = torch.Generator().manual_seed(3)
    images, texts = (torch.randn(n, 6, generator=random) for n in (IMAGES, CONCEPTS))
    layer = torch.rand(IMAGES, UNITS, generator=random)
    layer[:, 2] = 0
    layer[5, 4] = torch.nan
    return ConceptActivationMatrix(images, texts), layer


@pytest.mark.parametrize("name", SIMILARITY)
def test_a_layer_at_once_is_what_the_function_says(case, name):
    products, layer = case
    options = SMALL.get(name, {})
    whole = LayerSimilarity(name, products, layer, options)
    found = whole.of(range(UNITS), whole.prior())
    expected = SIMILARITY[name](products, layer, **options)
    torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("held", [0, 1 << 27])
@pytest.mark.parametrize("group", [1, 4, 512])
@pytest.mark.parametrize("name", SIMILARITY)
def test_no_bit_depends_on_the_company(case, name, group, held, monkeypatch):
    monkeypatch.setattr(labelling, "_GROUP", group)
    monkeypatch.setattr(labelling, "_HELD", held)
    products, layer = case
    options = SMALL.get(name, {})
    whole = LayerSimilarity(name, products, layer, options)
    prior = whole.prior()
    every = whole.of(range(UNITS), prior)
    for units in ([7], [9, 0, 3], [10, 2]):
        some = LayerSimilarity(name, products, layer, options).of(units, prior)
        assert torch.equal(some.nan_to_num(nan=9e9), every[units].nan_to_num(nan=9e9))


def test_the_prior_does_not_depend_on_the_groups(case, monkeypatch):
    products, layer = case
    whole = LayerSimilarity("soft_wpmi", products, layer, SMALL["soft_wpmi"]).prior()
    monkeypatch.setattr(labelling, "_GROUP", 3)
    parts = LayerSimilarity("soft_wpmi", products, layer, SMALL["soft_wpmi"]).prior()
    torch.testing.assert_close(whole, parts)
    assert LayerSimilarity("cos", products, layer, {}).prior() is None
    dead = LayerSimilarity("wpmi", products, torch.zeros(IMAGES, 2), SMALL["wpmi"]).prior()
    assert dead is not None
    assert dead.isnan().all()


def test_the_softmax_at_hand_changes_nothing_that_is_told(case, monkeypatch):
    products, layer = case
    held = LayerSimilarity("soft_wpmi", products, layer, SMALL["soft_wpmi"])
    cached = held.of(range(UNITS), held.prior())
    monkeypatch.setattr(similarity, "_BLOCK", 1)
    alone = LayerSimilarity("soft_wpmi", products, layer, SMALL["soft_wpmi"])
    unit_by_unit = alone.of(range(UNITS), alone.prior())
    torch.testing.assert_close(cached, unit_by_unit, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_a_pair_wins_where_its_text_is_nearer():
    axes = torch.eye(3)
    images = torch.cat([axes, axes[:2] + axes[[1, 0]]])  # the last two show both first things
    products = ConceptActivationMatrix(images, axes)
    layer = torch.tensor([[0.5], [0.5], [0.0], [1.0], [1.0]])
    (singles,) = LayerSimilarity("cos", products, layer, {}).of([0], None)

    def embed(texts):
        assert "one and two" in texts
        return torch.stack(
            [sum(axes[NAMES.index(word)] for word in t.split(" and ")) for t in texts]
        )

    found = best_labels("cos", products, NAMES, layer, 0, singles, embed, {}, 2, pairs=3)
    assert [one.text for one in found] == ["one and two", "one"]
    alone = best_labels("cos", products, NAMES, layer, 0, singles, embed, {}, 2)
    assert [one.text for one in alone] == ["one", "two"]


NAMES = ["one", "two", "three"]
