"""The references' algorithms as written anew: they give what the references give."""

import json

import numpy as np
import pytest
import torch

from benchmarks import race_reference as reference
from benchmarks.pairs import median_of, paired, ratio_figure
from dnd_assets.methods.clip_dissect.similarity import SIMILARITY
from dnd_assets.methods.dissection import scoring


@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.parametrize("name", ["cos", "cos_cubed", "wpmi", "soft_wpmi"])
def test_similarities_are_those_of_the_reference(shared_dir, case, name):
    with np.load(shared_dir / "conformance" / f"clip_dissect_open_{case}.npz") as arrays:
        products, activations = (torch.from_numpy(arrays[key]) for key in ("P", "A"))
        expected = torch.from_numpy(arrays[f"sim_{name}"])

    found = reference.SIMILARITY[name](products, activations)

    # Logarithms of nearly nothing: processors round their exponentials differently.
    bound = 1e-3 if name == "soft_wpmi" else 1e-4 if name == "wpmi" else 1e-5
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).all()


def test_rank_reorder_picks_what_ours_picks(shared_dir):
    with np.load(shared_dir / "conformance" / "clip_dissect_open_b.npz") as arrays:
        products = torch.from_numpy(arrays["P"])[:, :20].abs() + 0.01
        activations = torch.from_numpy(arrays["A"])
    found = reference.rank_reorder(products, activations)
    ours = SIMILARITY["rank_reorder"](products, activations)
    assert (found.argmax(dim=1) == ours.argmax(dim=1)).all()


def test_best_concepts_are_the_largest():
    similarities = torch.tensor([[0.1, 0.3, 0.2]])
    assert reference.best(similarities, ["a", "b", "c"], 2) == [
        [("b", pytest.approx(0.3)), ("c", pytest.approx(0.2))]
    ]


@pytest.mark.parametrize("library", reference.LIBRARIES)
def test_boxes_are_those_of_the_reference(shared_dir, library):
    folder = shared_dir / "conformance"
    cases = json.loads((folder / "attention_crops_open.json").read_text())
    heatmaps = np.load(folder / "attention_crops_open.npz")["heatmaps"]
    for heatmap, case in zip(heatmaps, cases, strict=True):
        expected = (case["otsu"], [tuple(box) for box in case["boxes"]])
        assert reference.crops(heatmap, library) == expected


def test_scores_are_those_of_the_reference(shared_dir):
    cases = json.loads((shared_dir / "conformance" / "concept_scores_open.json").read_text())
    named = {
        "mean_rank": ("mean_rank", -1),
        "topk_squared": ("topk_sq_mean", -1),
        "image_products": ("image_products", 1),
        "topk_squared_image_products": ("topk_compare", 1),
    }
    for case in cases:
        arrays = [np.array(case[key]) for key in ("activations", "generated", "target")]
        found, ours = reference.scored(*arrays), scoring.all_scores(*arrays)
        for name, (key, sign) in named.items():
            expected = [sign * score for _, score in sorted(case[key])]
            np.testing.assert_allclose(found[name], expected, atol=1e-6)
            np.testing.assert_allclose(ours[name], expected, atol=1e-6)


def test_pairs_tell_the_median_of_ratios():
    found = median_of([(1.0, 2.0), (3.0, 3.0), (9.0, 1.0)])
    assert (found.ours, found.other, found.ratio) == (3.0, 2.0, 1.0)
    assert not ratio_figure("slow", found, 0.8).good
    assert ratio_figure("told", found, None).good


def test_both_ways_take_turns():
    calls = []
    paired(lambda: calls.append("a"), lambda: calls.append("b"), times=2)
    assert "".join(calls) == "ababba"
