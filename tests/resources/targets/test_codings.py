"""Autoencoders and directions attached to layers: latents as units, their maps, their keys."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from scipy.optimize import nnls

from dnd_assets.errors import NotFoundError, StudyError
from resources.targets.networks import TargetNetworks
from tests.methods.sae import written

LAYER = "vit.layers.0"


def pictures(count=3):
    r = np.random.default_rng(3)
    return [Image.fromarray(r.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def source(vit_folder):
    return f"hf:{vit_folder}"


@pytest.fixture(scope="module")
def layer(source, cpu):
    """Path of the first block."""
    plain = TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu)
    blocks = [one.path for one in plain.layers("net") if one.shape == (17, 16) and one.has_map]
    return blocks[0]


@pytest.fixture(scope="module")
def tokens(source, cpu, layer):
    """What the block gives: (pictures, tokens, width), the class token first."""
    plain = TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu)
    units = [(layer, n) for n in range(16)]
    maps = plain.maps("net", units, pictures())
    patches = np.stack([np.stack([maps[one][i].ravel() for one in units]) for i in range(3)])
    first = plain.activations("net", {layer: "class_token"}, pictures())[layer]
    return np.concatenate([first[:, None], patches.transpose(0, 2, 1)], axis=1)


def attached(source, cpu, layer, **said):
    coding = {"path": layer, "kind": "sae", **said}
    return TargetNetworks(
        models=[{"name": "net", "source": source, "codings": [coding]}], compute=cpu
    )


def codes_of(rows):
    """Codes of a TopK of SAELens with k = 3, in numpy."""
    p = written.parts()
    pre = (rows - p["c"]) @ p["W"] + p["b"]
    return written.relu(written.topk(pre, 3))


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [("class", slice(0, 1)), ("patches", slice(1, None)), ("all", slice(None))],
)
def test_latents_are_pooled_by_their_maximum_over_the_chosen_tokens(
    choice, chosen, source, cpu, layer, tokens, tmp_path
):
    place = written.saelens_topk(tmp_path / "sae").place
    nets = attached(source, cpu, layer, file=str(place), tokens=choice)
    expected = np.stack([codes_of(one[chosen]).max(axis=0) for one in tokens])

    assert nets.units("net", layer) == written.LATENTS
    found = nets.activations("net", {layer: "auto"}, pictures())[layer]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    mean = nets.activations("net", {layer: "mean"}, pictures())[layer]
    means = np.stack([codes_of(one[chosen]).mean(axis=0) for one in tokens])
    np.testing.assert_allclose(mean, means, rtol=1e-3, atol=1e-4)
    with pytest.raises(StudyError, match="maximum"):
        nets.activations("net", {layer: "class_token"}, pictures())


@pytest.mark.parametrize("choice", ["patches", "all"])
def test_maps_of_latents_lie_on_the_grid_of_tokens(choice, source, cpu, layer, tokens, tmp_path):
    place = written.saelens_topk(tmp_path / "sae").place
    nets = attached(source, cpu, layer, file=str(place), tokens=choice)
    units = [(layer, 5), (layer, 11), (layer, 39)]
    maps = nets.maps("net", units, pictures())
    grids = nets.layer_maps("net", {layer: [5, 11, 39]}, pictures())[layer]

    for index, one in enumerate(tokens):
        codes = codes_of(one[1:])
        for at, (_, latent) in enumerate(units):
            expected = codes[:, latent].reshape(4, 4)
            np.testing.assert_allclose(maps[layer, latent][index], expected, rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(grids[index][at], maps[layer, latent][index])


def test_the_class_token_has_no_place(source, cpu, layer, tmp_path):
    place = written.saelens_topk(tmp_path / "sae").place
    nets = attached(source, cpu, layer, file=str(place), tokens="class")

    assert not nets.check("net", layer).has_map
    assert nets.maps("net", [(layer, 0)], pictures())[layer, 0] == [None] * 3
    assert next(one for one in nets.layers("net") if one.path == layer).units == written.LATENTS


def test_tokens_are_asked_for_unless_the_checkpoint_says_them(source, cpu, layer, tmp_path):
    place = written.saelens_topk(tmp_path / "sae").place
    with pytest.raises(StudyError, match="tokens = 'class', 'patches' or 'all'"):
        attached(source, cpu, layer, file=str(place)).units("net", layer)
    prisma = written.vit_prisma_layer_norm(tmp_path / "prisma").place
    info = attached(source, cpu, layer, file=str(prisma)).check("net", layer)
    assert info.layout.tokens == "patches"
    with pytest.raises(StudyError, match="trained on tokens = 'patches'"):
        attached(source, cpu, layer, file=str(prisma), tokens="all").units("net", layer)


def test_what_does_not_fit_a_layer_is_refused(source, cpu, layer, tmp_path):
    place = str(written.saelens_topk(tmp_path / "sae").place)
    with pytest.raises(StudyError, match=r"16 numbers.*3 neurons"):
        attached(source, cpu, "classifier", file=place).units("net", "classifier")
    with pytest.raises(StudyError, match="no checkpoint"):
        attached(source, cpu, layer, file=str(tmp_path / "none.pt"), tokens="all").units(
            "net", layer
        )
    nets = attached(source, cpu, layer, file=place, tokens="all")
    with pytest.raises(NotFoundError, match=f"{layer}/40"):
        nets.maps("net", [(layer, 40)], pictures(1))


def layout(source, cpu, layer, **said):
    return json.dumps(attached(source, cpu, layer, tokens="all", **said).layout("net", layer))


def test_the_layout_in_keys_holds_the_checkpoint_and_the_answers(source, cpu, layer, tmp_path):
    case = written.overcomplete_topk(tmp_path / "one")
    first = layout(source, cpu, layer, file=str(case.place), **case.answers)
    written.overcomplete_topk(tmp_path / "moved")
    moved = layout(source, cpu, layer, file=str(tmp_path / "moved"), **case.answers)
    other = layout(source, cpu, layer, file=str(case.place), activation="topk", k=4)
    weights = torch.load(case.place / "sae.pt", weights_only=True)
    weights["encoder.final_block.0.bias"][0] += 1
    torch.save(weights, case.place / "sae.pt")
    changed = layout(source, cpu, layer, file=str(case.place), **case.answers)
    plain = TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu)

    assert first == moved
    assert len({first, other, changed, json.dumps(plain.layout("net", layer))}) == 4


def test_settings_beside_a_checkpoint_count_as_its_weights_do(source, cpu, layer, tmp_path):
    place = written.saelens_topk(tmp_path / "sae").place
    first = layout(source, cpu, layer, file=str(place))
    (place / "cfg.json").write_text(json.dumps(written.lens("topk", k=4)))
    assert layout(source, cpu, layer, file=str(place)) != first


# --- directions


def directions(tmp_path, matrix, names=None, **more):
    metadata = None if names is None else {"names": json.dumps(names)}
    held = {"directions": matrix, **more}
    save_file({n: np.ascontiguousarray(v) for n, v in held.items()}, tmp_path / "d.safetensors",
              metadata=metadata)  # fmt: skip
    return str(tmp_path / "d.safetensors")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(8).normal(size=(5, 16)).astype(np.float32)


def along(source, cpu, layer, file, **said):
    nets = attached(source, cpu, layer, kind="directions", file=file, tokens="patches", **said)
    return nets, nets.activations("net", {layer: "auto"}, pictures())[layer]


def test_directions_are_units_with_names(source, cpu, layer, tokens, rows, tmp_path):
    file = directions(tmp_path, rows, ["a", "b", "c", "d", "e"])
    nets, found = along(source, cpu, layer, file)
    expected = (tokens[:, 1:] @ rows.T).max(axis=1)

    assert nets.unit_names("net", layer) == ("a", "b", "c", "d", "e")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    _, turned = along(source, cpu, layer, directions(tmp_path, rows.T))
    np.testing.assert_array_equal(found, turned)


def test_means_and_biases_of_components_and_probes(source, cpu, layer, tokens, rows, tmp_path):
    mean = rows[0] * 0.3
    bias = np.arange(5, dtype=np.float32)
    file = directions(tmp_path, rows, mean=mean, bias=bias)
    _, found = along(source, cpu, layer, file, tensor="directions", mean="mean", bias="bias")
    expected = ((tokens[:, 1:] - mean) @ rows.T + bias).max(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_cosines(source, cpu, layer, tokens, rows, tmp_path):
    _, found = along(source, cpu, layer, directions(tmp_path, rows), reading="cosine")
    lengths = np.linalg.norm(tokens[:, 1:], axis=2, keepdims=True) * np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(
        found, (tokens[:, 1:] @ rows.T / lengths).max(axis=1), rtol=1e-3, atol=1e-4
    )


def test_non_negative_coefficients_are_those_of_least_squares(
    source, cpu, layer, tokens, rows, tmp_path
):
    parts = np.abs(rows)
    _, found = along(source, cpu, layer, directions(tmp_path, parts), reading="non_negative")
    best = np.stack([np.stack([nnls(parts.T, t)[0] for t in one[1:]]) for one in tokens])
    np.testing.assert_allclose(found, best.max(axis=1), rtol=1e-2, atol=1e-3)


def test_files_of_directions_that_leave_something_open(source, cpu, layer, rows, tmp_path):
    square = directions(tmp_path, np.eye(16, dtype=np.float32))
    with pytest.raises(StudyError, match="columns = true"):
        along(source, cpu, layer, square)
    two = directions(tmp_path, rows, other=rows)
    with pytest.raises(StudyError, match="tensor = "):
        along(source, cpu, layer, two)
    with pytest.raises(StudyError, match="3 names"):
        along(source, cpu, layer, directions(tmp_path, rows, ["a", "b", "c"]))
    (tmp_path / "d.npy").write_bytes(b"")
    with pytest.raises(StudyError, match=r"d\.npy is refused"):
        along(source, cpu, layer, str(tmp_path / "d.npy"))


def test_directions_of_channels_of_a_convolution(cpu, tmp_path):
    own = "module:tests.resources.networks:small_net"
    plain = TargetNetworks(models=[{"name": "net", "source": own}], compute=cpu)
    maps = plain.layer_maps("net", {"conv": range(4)}, pictures())["conv"]
    matrix = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    file = directions(tmp_path, matrix)
    nets = attached(own, cpu, "conv", kind="directions", file=file)

    found = nets.activations("net", {"conv": "auto"}, pictures())["conv"]
    expected = [np.einsum("dc,chw->dhw", matrix, one) for one in maps]
    np.testing.assert_allclose(found, [e.max(axis=(1, 2)) for e in expected], rtol=2e-3, atol=1e-4)
    shown = nets.maps("net", [("conv", 2)], pictures())["conv", 2]
    np.testing.assert_allclose(shown, [e[2] for e in expected], rtol=2e-3, atol=1e-3)
    with pytest.raises(StudyError, match="no tokens"):
        attached(own, cpu, "conv", kind="directions", file=file, tokens="all").units("net", "conv")
