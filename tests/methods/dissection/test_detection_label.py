"""From captions and activations to a label: a superstimulus, order, images without a value."""

import numpy as np
import pytest

from dnd_assets.known_answers.world import caption, probing_seed, scene
from dnd_assets.methods.dissection.detection_label import (
    DetectionSettings,
    caption_words,
    label_by_detection,
    reference_of,
)

SCENES = [scene(probing_seed(index, 3)) for index in range(700)]
NAMES = [f"{index:04d}" for index in range(len(SCENES))]
CAPTIONS = [caption(one) for one in SCENES]
REFERENCE = reference_of(NAMES[:500], CAPTIONS[:500])


def label(values, reference=REFERENCE):
    order = sorted(range(len(SCENES)), key=lambda at: (-np.nan_to_num(values[at]), at))[:10]
    exemplars = {NAMES[at]: CAPTIONS[at] for at in order}
    active = dict(zip(NAMES, map(float, values), strict=True))
    summary = ["large red circles"]
    return label_by_detection(
        "net/layer/0", summary, exemplars, reference, active, DetectionSettings()
    )


def superstimulus():
    """Answers to circles, most of all to large red ones."""
    return np.array([
        (one.shape == "circle") * (1 + (one.size == "large") + (one.colour == "red"))
        for one in SCENES
    ], dtype=float)  # fmt: skip


def test_a_superstimulus_is_called_by_what_it_detects():
    found = label(superstimulus())
    assert found is not None
    assert found.best.candidate.text in ("circle", "circles")
    assert found.confidence > 0.9


def test_the_order_of_the_reference_s_mapping_changes_nothing():
    values = superstimulus()
    active = dict(zip(NAMES, map(float, values), strict=True))
    back = dict(reversed(active.items()))
    exemplars = {NAMES[at]: CAPTIONS[at] for at in np.argsort(-values, kind="stable")[:10]}
    one, other = (
        label_by_detection("u", [], exemplars, REFERENCE, some, DetectionSettings())
        for some in (active, back)
    )
    assert one == other


def test_images_without_a_value_are_left_out():
    values = superstimulus()
    values[[1, 5, 9]] = np.nan
    found = label(values)
    assert found is not None
    assert found.best.candidate.text in ("circle", "circles")
    assert label(np.full(len(SCENES), np.nan)) is None


def test_a_unit_that_answers_to_nothing_is_not_believed():
    found = label(np.random.default_rng(8).random(len(SCENES)))
    assert found is None or found.confidence < 0.5


def test_a_unit_that_fires_on_a_few_images():
    values = np.array([one.shape == "star" and one.colour == "blue" for one in SCENES], dtype=float)
    found = label(values)
    assert found is not None
    assert found.best.candidate.parts == (frozenset({"blue", "star"}),)
    assert found.best.share == pytest.approx(values[:500].mean(), abs=0.02)


def test_scripts_without_spaces_have_words_too():
    assert {"\u72d7", "\u6d77\u6ee9"} <= caption_words("\u4e00\u53ea\u72d7\u5728\u6d77\u6ee9\u4e0a")
    assert caption_words("two red circles on grass") == {"two", "red", "circle", "grass"}
