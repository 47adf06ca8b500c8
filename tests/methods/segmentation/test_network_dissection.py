"""Network Dissection: thresholds, IoU and labels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import StudyError
from dnd_assets.methods.segmentation.network_dissection import (
    Detector,
    Overlaps,
    TopShare,
    detectors,
)


def thresholds_of(maps, share=0.005, sizes=(1000,)):
    counter = TopShare(maps.shape[1], maps[:, 0].numel(), share)
    start = 0
    for size in sizes:
        counter.add(maps[start : start + size])
        start += size
    return counter.thresholds()


def test_threshold_of_a_worked_case():
    # 200 positions: 0.5 % is one value, so that exactly one exceeds the second largest.
    maps = torch.arange(200.0).view(2, 1, 10, 10)

    assert thresholds_of(maps).tolist() == [198.0]
    assert thresholds_of(maps, share=0.1).tolist() == [179.0]
    assert thresholds_of(maps, share=0.0).tolist() == [199.0]


@given(st.data())
def test_thresholds_are_those_of_sorted_values_in_any_batches(data):
    images, units, side = data.draw(st.tuples(*[st.integers(1, 8)] * 3))
    share = data.draw(st.floats(0, 0.99))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    maps = torch.randint(0, 30, (images, units, side, side), generator=generator).float()
    order = data.draw(st.permutations(range(images)))
    cut = data.draw(st.integers(0, images))

    found = thresholds_of(maps[order], share, [cut, images])

    values = maps.transpose(0, 1).flatten(1).sort(dim=1, descending=True).values
    exceeding = math.floor(values.shape[1] * share + 1e-9)
    assert torch.equal(found, values[:, exceeding])
    assert ((values > found[:, None]).sum(dim=1) <= exceeding).all()


def test_kept_values_are_bounded():
    counter = TopShare(3, 100_000, 0.005)
    for _ in range(100):
        counter.add(torch.rand(10, 3, 10, 10))
        assert sum(part.numel() for part in counter._parts) <= 3 * (2 * 501 + 1000)
    assert counter.thresholds().shape == (3,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_units_that_are_not_finite_have_no_threshold(value):
    maps = torch.rand(4, 3, 5, 5)
    expected = thresholds_of(maps, 0.1)
    maps[1, 1, 2, 2] = value

    found = thresholds_of(maps, 0.1)

    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_thresholds_need_all_positions():
    counter = TopShare(2, 50)
    counter.add(torch.zeros(1, 2, 5, 5))

    with pytest.raises(ValueError, match="only 25 of 50 announced"):
        counter.thresholds()
    with pytest.raises(ValueError, match="75 positions were added, but 50 announced"):
        counter.add(torch.zeros(2, 2, 5, 5))
    with pytest.raises(ValueError, match=r"\(B, 2, H, W\)"):
        counter.add(torch.zeros(1, 3, 5, 5))
    with pytest.raises(ValueError, match="0 positions"):
        TopShare(2, 0)


def masks_of(*texts):
    """Rows of dots and crosses as masks."""
    rows = [[[c == "x" for c in row] for row in text.split()] for text in texts]
    return np.array(rows, dtype=bool)


def test_iou_of_a_worked_case():
    overlaps = Overlaps(torch.tensor([0.5]), ["object", "object", "colour"])
    on = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])

    overlaps.add(on, [0, 1], masks_of("xx x.", ".. .x"))
    overlaps.add(on, [0, 2], masks_of("x. ..", "xx xx"))

    # Concept 0: common 2 + 1, union 3 + 2. Concept 1: common 0, union 3 on the first image and
    # 2 on the second, where objects are labelled. Concept 2: colours only on the second, 2 of 4.
    assert overlaps.ious().tolist() == [[3 / 5, 0.0, 2 / 4]]


def test_maps_are_interpolated_to_the_mask():
    # Bilinear, edge to edge: 0, 0.25, 0.75, 1 between the centres of 0 and 1.
    maps = torch.tensor([[[0.0, 1.0]]])
    for threshold, expected in ((0.2, 3), (0.25, 2), (0.75, 1), (1.0, 0)):
        overlaps = Overlaps(torch.tensor([threshold]), ["object"])
        overlaps.add(maps, [0], masks_of("xxxx"))
        assert overlaps.ious().item() == expected / 4


@st.composite
def labelled_images(draw):
    units, concepts, images = draw(st.tuples(*[st.integers(1, 4)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    cases = []
    for _ in range(images):
        present = np.flatnonzero(random.random(concepts) < 0.7).tolist()
        masks = random.random((len(present), 6, 9)) < 0.4
        cases.append((torch.from_numpy(random.normal(size=(units, 3, 4))).float(), present, masks))
    categories = [draw(st.sampled_from(["object", "part"])) for _ in range(concepts)]
    return torch.from_numpy(random.normal(size=units)).float(), categories, cases


def naive_iou(unit, concept, thresholds, categories, cases):
    common = union = 0
    for maps, present, masks in cases:
        if categories[concept] not in {categories[c] for c in present}:
            continue
        large = torch.nn.functional.interpolate(maps[None], size=(6, 9), mode="bilinear")[0, unit]
        mask = masks[present.index(concept)] if concept in present else np.zeros((6, 9), bool)
        for y in range(6):
            for x in range(9):
                on = bool(large[y, x] > thresholds[unit])
                common += on and mask[y, x]
                union += on or mask[y, x]
    return common / union if union else 0.0


@given(labelled_images())
def test_iou_by_a_double_loop_in_any_order(case):
    thresholds, categories, cases = case
    plain, backwards = Overlaps(thresholds, categories), Overlaps(thresholds, categories)
    for image in cases:
        plain.add(*image)
    for maps, present, masks in reversed(cases):
        backwards.add(maps, present[::-1], masks[::-1])

    found = plain.ious()

    for unit in range(len(thresholds)):
        for concept in range(len(categories)):
            expected = naive_iou(unit, concept, thresholds, categories, cases)
            assert found[unit, concept].item() == expected
    assert torch.equal(found, backwards.ious())


@given(labelled_images(), st.data())
def test_other_units_and_the_size_of_blocks_do_not_matter(case, data):
    thresholds, categories, cases = case
    chosen = data.draw(st.permutations(range(len(thresholds))))[:2]
    whole, some = Overlaps(thresholds, categories), Overlaps(thresholds[chosen], categories)
    with pytest.MonkeyPatch.context() as patch:
        for maps, present, masks in cases:
            patch.undo()
            whole.add(maps, present, masks)
            patch.setattr("dnd_assets.methods.segmentation.network_dissection._PIXELS_AT_ONCE", 1)
            some.add(maps[chosen], present, masks)

    assert torch.equal(some.ious(), whole.ious()[chosen])


def test_units_without_threshold_are_nan_and_change_no_other():
    overlaps = Overlaps(torch.tensor([math.nan, 0.0]), ["object"])

    overlaps.add(torch.ones(2, 2, 2), [0], masks_of("x. .."))

    assert overlaps.ious()[0].isnan().all()
    assert overlaps.ious()[1].tolist() == [0.25]
    assert detectors(overlaps.ious()) == [None, Detector(0, 0.25)]


def test_labels_are_the_best_above_the_cutoff():
    ious = torch.tensor([[0.1, 0.3, 0.3], [0.0, 0.04, 0.01], [0.05, math.nan, 0.0]]).double()

    assert detectors(ious)[0] == Detector(1, pytest.approx(0.3))
    assert detectors(ious.float()[:1])[0].concept == 1
    assert detectors(ious, cutoff=0.05)[1] is None
    assert detectors(ious)[2].concept == 0
    with pytest.raises(ValueError, match="at least one"):
        detectors(torch.zeros(2, 0))


def test_images_that_do_not_fit_are_refused():
    overlaps = Overlaps(torch.zeros(2), ["object"] * 3)
    masks = np.zeros((2, 4, 4), dtype=bool)

    with pytest.raises(ValueError, match=r"\(2, h, w\)"):
        overlaps.add(torch.zeros(3, 2, 2), [0, 1], masks)
    with pytest.raises(ValueError, match=r"masks of 1 concepts are bool \(1, H, W\)"):
        overlaps.add(torch.zeros(2, 2, 2), [0], masks)
    for concepts in ([0, 3], [1, 1]):
        with pytest.raises(ValueError, match="different numbers from 0 to 2"):
            overlaps.add(torch.zeros(2, 2, 2), concepts, masks)
    with pytest.raises(StudyError, match=r"5,000 x 4,000 pixels is too large"):
        overlaps.add(torch.zeros(2, 2, 2), [0], np.zeros((1, 4000, 5000), dtype=bool))
    overlaps.add(torch.ones(2, 2, 2), [], np.zeros((0, 4, 4), dtype=bool))
    assert overlaps.ious().tolist() == [[0.0] * 3] * 2


def test_counting_goes_on_from_a_state():
    random = torch.Generator().manual_seed(4)
    maps = torch.rand(9, 3, 4, 4, generator=random)
    whole, before, after = (TopShare(3, 9 * 16, 0.1) for _ in range(3))
    whole.add(maps)
    before.add(maps[:5])
    after.load(before.state())
    after.add(maps[5:])
    assert torch.equal(after.thresholds(), whole.thresholds())

    masks = np.random.default_rng(0).random((9, 2, 8, 8)) < 0.3
    thresholds, categories = whole.thresholds(), ["object", "colour"]
    first, second, every = (Overlaps(thresholds, categories) for _ in range(3))
    for index in range(9):
        every.add(maps[index], [0, 1], masks[index])
        (first if index < 5 else second).add(maps[index], [0, 1], masks[index])
        if index == 4:
            second.load(first.state())
    assert torch.equal(second.ious(), every.ious())


@given(st.data())
def test_what_is_left_out_counts_nowhere(data):
    images, units = data.draw(st.integers(2, 6)), 3
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    maps = torch.randint(0, 9, (images, units, 3, 3), generator=random).float()
    left_out = torch.rand(images, units, generator=random) < 0.4
    maps[left_out] = data.draw(st.sampled_from([math.nan, math.inf, 100.0]))
    share = data.draw(st.floats(0, 0.9))
    counter = TopShare(units, maps[:, 0].numel(), share)
    cut = data.draw(st.integers(0, images))
    counter.add(maps[:cut], left_out[:cut])
    counter.add(maps[cut:], left_out[cut:])
    thresholds = counter.thresholds()

    masks = np.random.default_rng(images).random((images, 2, 6, 6)) < 0.3
    overlaps = Overlaps(thresholds, ["object", "colour"])
    for one in zip(maps, masks, left_out, strict=True):
        overlaps.add(one[0], [0, 1], one[1], one[2])
    for unit in range(units):
        kept = ~left_out[:, unit]
        if not kept.any():
            assert thresholds[unit].isnan()
            continue
        alone = maps[kept][:, unit : unit + 1]
        assert thresholds[unit] == thresholds_of(alone, share)[0]
        others = Overlaps(thresholds[unit : unit + 1], ["object", "colour"])
        for one, mask in zip(alone, masks[kept.numpy()], strict=True):
            others.add(one, [0, 1], mask)
        assert torch.equal(overlaps.ious()[unit], others.ious()[0])


def test_what_was_left_out_can_be_joined_again():
    maps = torch.arange(60.0).view(3, 1, 4, 5)
    some, rest = TopShare(1, 60, 0.1), TopShare(1, 60, 0.1)
    for index, one in enumerate(maps):
        some.add(one[None], torch.tensor([[index == 1]]))
    rest.add(maps[1:2])
    assert some.thresholds().tolist() == [55.0]
    some.join(rest)
    assert torch.equal(some.thresholds(), thresholds_of(maps, 0.1))
