"""Networks side by side, worked by hand, and the page of a study of two networks."""

import numpy as np
import pytest

from dnd_assets.report import pages
from dnd_assets.report.build import build_report
from dnd_assets.report.entries import Entry, MethodSummary
from dnd_assets.report.network_comparison import compare_networks
from dnd_assets.units import Unit
from tests.report import made
from tests.report.conftest import context_of


def entry(model, neuron, label, confidence=None, layer="fc"):
    status = "ok" if label else "no_label"
    summary = MethodSummary(label, None, status)
    return Entry(f"{model}/{layer}/{neuron}", model, layer, neuron, {"labels": summary},
                 confidence=confidence)  # fmt: skip


UNITS = [
    entry("a", 0, "dog", 0.9), entry("a", 1, "Dog", 0.7), entry("a", 2, "sky"),
    entry("a", 3, None, layer="conv"), entry("b", 0, "dog", 1.0), entry("b", 1, "cat"),
]  # fmt: skip
PLANE = {"dog": (1.0, 0.0), "Dog": (1.0, 0.0), "sky": (0.0, 1.0), "cat": (0.8, 0.6)}
VECTORS = {text: np.array(place, np.float32) for text, place in PLANE.items()}


def test_a_worked_case():
    found = compare_networks(UNITS, VECTORS)
    first, second = found.summaries
    assert (first.model, first.layers, first.units, first.labelled) == ("a", 2, 4, 3)
    assert (first.concepts, first.confidence) == (2, pytest.approx(0.8))
    assert (second.model, second.units, second.concepts, second.confidence) == ("b", 2, 2, 1.0)
    (pair,) = found.pairs
    assert (pair.one, pair.other, pair.shared, pair.share) == ("a", "b", 1, pytest.approx(1 / 3))
    # Of a: dog to dog 1, sky to cat 0.6. Of b: dog to dog 1, cat to dog 0.8.
    assert pair.likeness == pytest.approx(((1 + 0.6) / 2 + (1 + 0.8) / 2) / 2)
    ((label, units),) = found.shared
    assert label == "dog"
    assert {name: [one.neuron for one in some] for name, some in units.items()} == {
        "a": [0, 1], "b": [0],
    }  # fmt: skip
    assert {name: [label for label, _ in some] for name, some in found.single.items()} == {
        "a": ["sky"], "b": ["cat"],
    }  # fmt: skip
    assert found.left_out == 0


def test_without_all_embeddings_likeness_is_not_told():
    (pair,) = compare_networks(UNITS, {"dog": VECTORS["dog"]}).pairs
    assert pair.likeness is None


def test_one_network_is_compared_with_nothing():
    assert compare_networks(UNITS[:4], VECTORS) is None


def test_networks_without_labels_share_nothing():
    (pair,) = compare_networks([entry("a", 0, None), entry("b", 0, None)], {}).pairs
    assert (pair.shared, pair.share, pair.likeness) == (0, None, None)


def test_what_the_tables_leave_out_is_counted():
    many = [entry("a", number, f"label {number:03}") for number in range(230)]
    found = compare_networks([*many, entry("b", 0, "other")], {})
    assert len(found.single["a"]) == 200
    assert found.left_out == 30


def test_the_page_escapes_labels_and_links_units():
    hostile = [
        entry("a", 0, "<script>alert(1)</script>"),
        entry("b", 1, "<script>alert(1)</script>"),
    ]
    common = {"root": "", "study": "<b>", "changes": False, "networks": True}
    page = pages.render(
        "networks.html", here="networks", found=compare_networks(hostile, {}), **common
    ).decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'href="networks.html" aria-current="page"' in page
    assert all(f'href="{one.page}"' in page for one in hostile)


def test_an_atlas_of_two_networks_has_the_page_and_one_of_one_has_not(tmp_path):
    for name, models in (("two", ("net", "other")), ("one", ("net",))):
        units = [Unit(model, "fc", neuron) for model in models for neuron in range(3)]
        folder = tmp_path / name
        state = made.fill(context_of(folder, units), folder / "photos", units, 12, 4, 48)
        build_report(state.context, folder / "atlas")
        there = (folder / "atlas" / "networks.html").is_file()
        assert there == (len(models) > 1)
        assert ('href="networks.html"' in (folder / "atlas" / "index.html").read_text()) == there
