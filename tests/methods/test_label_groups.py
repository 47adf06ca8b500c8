"""Groups of labels: worked cases, invariants, the published labels of a satellite network."""

import csv
from collections import Counter

import numpy as np
import pytest

from dnd_assets.analysis.label_grouping import group_file
from dnd_assets.methods.label_groups import group_labels, group_name, plain_label

FILE = "published/dnd_resnet50_eurosat_layer4.csv"


def _vectors(angles):
    return {text: np.array([np.cos(a), np.sin(a)]) for text, a in angles.items()}


LABELS = {
    "n/l/0": "Red circle", "n/l/1": "red  circle", "n/l/2": "red circles",
    "n/l/3": "blue sky", "n/l/4": "a blue sea", "n/l/5": "dog",
}  # fmt: skip
VECTORS = _vectors(
    {"red circle": 0.0, "red circles": 0.1, "blue sky": 1.5, "a blue sea": 1.7, "dog": 3.0}
)


def test_like_labels_are_one_group_the_largest_first():
    found = group_labels(LABELS, VECTORS, 0.9)
    assert [(one.name, one.units) for one in found] == [
        ("red", ("n/l/0", "n/l/1", "n/l/2")), ("blue", ("n/l/3", "n/l/4")), ("dog", ("n/l/5",)),
    ]  # fmt: skip
    first = found[0]
    assert first.labels == (("red circle", 2), ("red circles", 1))
    assert first.label == "red circle"


def test_similarity_says_how_alike_labels_have_to_be():
    assert len(group_labels(LABELS, VECTORS, 1.0)) == 5
    assert len(group_labels(LABELS, VECTORS, -0.99)) == 1
    # The mean cosine between the red and the blue labels is near 0.
    assert len(group_labels(LABELS, VECTORS, 0.0)) == 2


def test_the_order_of_units_does_not_matter_and_every_unit_is_in_one_group():
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    vectors = rng.normal(size=(60, 8))
    space = dict(zip(words, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True))
    labels = {f"n/l/{i}": str(rng.choice(words)) for i in range(200)}
    found = group_labels(labels, space)
    assert group_labels(dict(reversed(labels.items())), space) == found
    units = [unit for one in found for unit in one.units]
    assert sorted(units) == sorted(labels)
    assert [len(one.units) for one in found] == sorted((len(g.units) for g in found), reverse=True)
    for one in found:
        assert Counter(labels[unit] for unit in one.units) == dict(one.labels)


def test_a_group_is_named_by_the_words_that_most_units_have():
    assert group_name({"fishing trips": 3, "success at fishing": 2}) == "fishing"
    counts = {"purple and pink flowers": 5, "purple skies": 4, "pink skies": 3}
    assert group_name(counts) == "purple or pink"
    assert group_name({"the of": 1, "an": 2}) == "an"
    assert group_name({"a red circle": 1, "red circles": 3}) == "red"


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="labels are needed"):
        group_labels({}, {})
    with pytest.raises(ValueError, match="none of them blank"):
        group_labels({"u": "  "}, {"": np.ones(1)})
    with pytest.raises(ValueError, match=r"'dog' has length 0\.000"):
        group_labels({"u": "dog"}, {})
    with pytest.raises(ValueError, match="length 2"):
        group_labels({"u": "dog"}, {"dog": np.array([2.0])})
    with pytest.raises(ValueError, match=r"similarity = 1\.5"):
        group_labels({"u": "dog"}, {"dog": np.array([1.0])}, 1.5)
    assert len(group_labels({"u": "dog"}, {"dog": np.array([1.0])})) == 1


class _Kept:
    """The genuine encoder, on CPU a minute for 675 labels."""

    def __init__(self, folder):
        from resources.encoders.sentence import SentenceEncoder
        from resources.runtime.compute import Compute

        self._encoder = SentenceEncoder(model=str(folder), compute=Compute())

    def encode(self, texts):
        return self._encoder.encode(texts)


def test_the_published_labels_of_a_satellite_network(shared_dir, mpnet_folder):
    path = shared_dir / FILE
    if not path.is_file():
        pytest.skip(f"no {FILE} in {shared_dir}")
    found = group_file(path, _Kept(mpnet_folder))
    with path.open() as file:
        said = {row["Neuron ID"]: plain_label(row["Label 1"]) for row in csv.DictReader(file)}
    fishing, purple = found.groups[:2]
    assert (fishing.name, purple.name) == ("fishing", "purple or pink")
    assert sum("fishing" in said[unit] for unit in fishing.units) >= 0.99 * 853
    with_colour = [unit for unit, text in said.items() if "purple" in text or "pink" in text]
    assert len(with_colour) == 609
    assert len(set(with_colour) & set(purple.units)) >= 0.9 * 609
