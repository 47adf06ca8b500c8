"""Latents and directions taken out of a layer's vectors, against what is worked out by hand."""

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from dnd_assets.methods.ablation.latents import (
    ablated_latents,
    latent_means,
    put_back,
    readout,
    vectors_of,
)
from dnd_assets.methods.ablation.replacing import Replacement
from dnd_assets.methods.sae.activation_functions import Relu, TopK
from dnd_assets.methods.sae.coded_layout import CodedLayout
from dnd_assets.methods.sae.directions import Directions
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.heads import Heads
from tests.methods.sae import written

T = torch.tensor


def layout(coding, axes="nc", tokens=None, prefix=0):
    return CodedLayout(axes, None, prefix, bool(prefix), coding=coding, tokens=tokens)


def encoder(**more):
    """Codes of (x, y): relu(x), relu(y - 1), relu(x + y)."""
    weight, bias = T([[1.0, 0, 1], [0, 1, 1]]), T([0.0, -1, 0])
    decoder = T([[1.0, 0], [0, 2], [0.5, 0.5]])
    return Encoder(weight, bias, Relu(), decoder=decoder, **more)


def zeros(count=3):
    return Replacement(fill=torch.zeros(count))


def test_a_latents_contribution_is_taken_away_by_hand():
    # (2, 3) has the codes 2, 2, 5.
    x = T([[2.0, 3.0]])
    found = ablated_latents(x, layout(encoder()), [(), (0,), (1,), (0, 2)], zeros())
    expected = [[2, 3], [2 - 2, 3], [2, 3 - 2 * 2], [2 - 2 - 2.5, 3 - 2.5]]
    np.testing.assert_allclose(found, expected)
    # To another value than 0: only the difference is added.
    mean = ablated_latents(x, layout(encoder()), [(1,)], Replacement(fill=T([9.0, 0.5, 9])))
    np.testing.assert_allclose(mean, [[2, 3 + (0.5 - 2) * 2]])
    # Another picture's code: (1, 1) has 1, 0, 2.
    other = Replacement(donor=T([[1.0, 1.0]]))
    found = ablated_latents(x, layout(encoder()), [(0, 2)], other)
    np.testing.assert_allclose(found, [[2 - 1 - 1.5, 3 - 1.5]])


def test_a_latent_that_does_not_fire_changes_nothing():
    x = T([[-1.0, 0.5]])
    found = ablated_latents(x, layout(encoder()), [(0,), (1,)], zeros())
    assert torch.equal(found, x.expand(2, 2))


def test_what_is_added_is_on_the_layers_own_scale():
    x = T([[2.0, 3.0]])
    # Read as (4, 6): codes 4, 5, 10; a vector of the autoencoder counts half in the layer.
    found = ablated_latents(x, layout(encoder(scale=2.0)), [(0,)], zeros())
    np.testing.assert_allclose(found, [[2 - 4 / 2, 3]])
    # TopK by the decoder's norm: codes are that much larger than what is decoded.
    rescale = T([2.0, 1, 1])
    found = ablated_latents(x, layout(encoder(rescale=rescale)), [(0,)], zeros())
    np.testing.assert_allclose(found, [[2 - 2, 3]])


@pytest.mark.parametrize("how", ["layer_norm", "constant_norm"])
def test_normalised_vectors_lose_what_the_reconstruction_loses(how):
    p = written.parts()
    coding = Encoder(
        T(p["W"]), T(p["b"]), Relu(), shift=T(p["c"]), normalisation=how, decoder=T(p["D"])
    )
    x = p["x"].astype(np.float64)
    if how == "layer_norm":
        spread, given = x.std(axis=1, ddof=1) + 1e-5, written.layer_norm(x)
    else:
        spread = np.linalg.norm(x, axis=1) / np.sqrt(written.WIDTH)
        given = x / spread[:, None]
    codes = written.relu((given - p["c"]) @ p["W"] + p["b"])
    for group in ((3,), (0, 7, 12)):
        rows = Replacement(fill=torch.zeros(written.LATENTS))
        found = ablated_latents(T(p["x"]), layout(coding), [group] * 9, rows)
        chosen = list(group)
        expected = x - (codes[:, chosen] @ p["D"][chosen]) * spread[:, None]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_only_the_chosen_tokens_change():
    x = torch.arange(24.0).reshape(1, 4, 6)[..., :2] + 1
    whole = readout(encoder(), x[0])
    for tokens, places in (("class", [0]), ("patches", [1, 2, 3]), ("all", [0, 1, 2, 3])):
        one = layout(encoder(), "ntc", tokens, prefix=1)
        found = ablated_latents(x, one, [(0,), ()], zeros())
        expected = x[0].clone()
        expected[places, 0] -= whole[places, 0]
        assert torch.equal(found, torch.stack([expected, x[0]]))
        means = latent_means(x, one)
        np.testing.assert_allclose(means[0], whole[places].double().mean(dim=0))


def test_maps_and_tokens_first_are_put_back_where_they_were():
    maps = torch.randn(2, 2, 3, 4)
    one = layout(encoder(), "nchw")
    assert torch.equal(put_back(maps, vectors_of(maps, one), one), maps)
    assert vectors_of(maps, one).shape == (2, 12, 2)
    found = ablated_latents(maps, one, [(), (0,)], zeros())
    assert torch.equal(found[0], maps[0])
    np.testing.assert_allclose(found[1, 0], maps[1, 0].clamp(max=0))
    first = torch.randn(5, 2, 2)
    one = layout(encoder(), "tnc", "all")
    found = ablated_latents(first, one, [(0,), ()], zeros())
    assert found.shape == first.shape
    assert torch.equal(found[:, 1], first[:, 1])
    np.testing.assert_allclose(found[:, 0, 0], first[:, 0, 0].clamp(max=0))


def test_directions_are_projected_out_and_nothing_else_changes():
    directions = T([[1.0, 0, 0, 0], [1.0, 1, 0, 0], [0, 0, 3.0, 0]])
    mean = T([1.0, 1, 1, 1])
    for reading in ("projection", "cosine"):
        coding = Directions(directions, reading=reading, mean=mean, bias=T([5.0, 5, 5]))
        x = torch.randn(1, 4)
        (one, two, both) = ablated_latents(x, layout(coding), [(0,), (2,), (0, 1)], zeros())
        np.testing.assert_allclose(one, [1, x[0, 1], x[0, 2], x[0, 3]], rtol=1e-5)
        np.testing.assert_allclose(two, [x[0, 0], x[0, 1], 1, x[0, 3]], rtol=1e-5)
        # Slanted directions are taken out together, not one after the other.
        np.testing.assert_allclose(both, [1, 1, x[0, 2], x[0, 3]], rtol=1e-4, atol=1e-5)
    given = Replacement(fill=T([0.25, -2.0, 0.0]))
    found = ablated_latents(x, layout(coding), [(0, 1)], given)
    np.testing.assert_allclose(readout(coding, found)[0, :2], [0.25, -2.0], rtol=1e-4)


def test_factors_of_nmf_are_taken_out_as_latents_are():
    coding = Directions(T([[1.0, 0], [1.0, 1]]), reading="non_negative")
    x = T([[3.0, 1.0]])  # 2 of the first, 1 of the second
    found = ablated_latents(x, layout(coding), [(0,), (1,)], zeros(2))
    np.testing.assert_allclose(found, [[1, 1], [2, 0]], atol=1e-6)


def test_what_nobody_knows_the_contribution_of_is_refused():
    for coding, told in (
        (encoder(unknown="a transcoder writes into another layer"), "a transcoder writes"),
        (Heads(4, 2), "read by Heads cannot be ablated"),
    ):
        with pytest.raises(StudyError, match=told):
            latent_means(torch.ones(1, 4), layout(coding))
    with pytest.raises(StudyError, match="further axes are averaged"):
        latent_means(torch.ones(1, 2, 3, 2), layout(encoder(), "nxtc", "all"))


def test_rows_that_grow_are_those_of_copies():
    coding = Encoder(
        *(T(written.parts()[n]) for n in "Wb"), TopK(3), decoder=T(written.parts()["D"])
    )
    x = torch.randn(1, 5, written.WIDTH)
    one = layout(coding, "ntc", "patches", prefix=1)
    groups = [(), (0,), (1, 2, 30), (39,)]
    rows = Replacement(fill=torch.zeros(written.LATENTS))
    grown = ablated_latents(x, one, groups, rows)
    copied = ablated_latents(x.expand(4, 5, written.WIDTH), one, groups, rows)
    assert torch.equal(grown, copied)
