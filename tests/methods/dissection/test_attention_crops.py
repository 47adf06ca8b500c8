"""Attention crops: parity with the reference, worked cases, invariants, refusals."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from dnd_assets.methods.dissection.attention_crops import (
    attention_boxes,
    cut,
    heatmap_bytes,
    iou,
    otsu_threshold,
)

heatmaps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=24),
    elements=st.sampled_from([0, 1, 60, 120, 200, 255]),
)


def drawn(shape, *boxes):
    """A heatmap of 200 inside the boxes (left, top, right, bottom) and 10 elsewhere."""
    heatmap = np.full(shape, 10, dtype=np.uint8)
    for left, top, right, bottom in boxes:
        heatmap[top:bottom, left:right] = 200
    return heatmap


def test_all_reference_heatmaps_give_the_same_threshold_and_boxes(shared_dir):
    folder = shared_dir / "conformance"
    cases = json.loads((folder / "attention_crops_open.json").read_text())
    heatmaps = np.load(folder / "attention_crops_open.npz")["heatmaps"]

    assert len(cases) == len(heatmaps) == 60
    for number, (heatmap, case) in enumerate(zip(heatmaps, cases, strict=True)):
        expected = (case["otsu"], [tuple(box) for box in case["boxes"]])
        assert attention_boxes(heatmap) == expected, f"heatmap {number}"


def test_boxes_come_by_area_with_exclusive_ends():
    heatmap = drawn((40, 60), (2, 3, 8, 9), (20, 10, 50, 30))

    assert attention_boxes(heatmap) == (10, [(20, 10, 50, 30), (2, 3, 8, 9)])


def test_of_equal_areas_the_lower_part_comes_first():
    heatmap = drawn((40, 40), (5, 5, 9, 9), (25, 5, 29, 9), (5, 25, 9, 29))

    assert attention_boxes(heatmap)[1] == [(5, 25, 9, 29), (25, 5, 29, 9), (5, 5, 9, 9)]


def test_parts_that_touch_at_a_corner_are_one():
    assert attention_boxes(drawn((20, 20), (2, 2, 5, 5), (5, 5, 8, 8)))[1] == [(2, 2, 8, 8)]


def test_a_part_in_a_hole_of_another_is_no_crop():
    heatmap = drawn((40, 40), (5, 5, 25, 25))
    heatmap[8:22, 8:22] = 10
    heatmap[13:17, 13:17] = 200

    assert attention_boxes(heatmap)[1] == [(5, 5, 25, 25)]


def test_overlap_limit_includes_one_half():
    # An L with a box of 12 x 10, and a bar of 10 x 6 in its corner: IoU 60 / 120.
    heatmap = drawn((30, 30), (0, 0, 12, 1), (0, 0, 1, 10), (2, 2, 12, 8))
    boxes = [(0, 0, 12, 10), (2, 2, 12, 8)]

    assert iou(*boxes) == 0.5
    assert attention_boxes(heatmap)[1] == boxes
    assert attention_boxes(heatmap, overlap=0.499)[1] == boxes[:1]


def test_a_box_of_the_whole_image_limit_is_refused():
    heatmap = drawn((10, 10), (0, 0, 10, 8))

    assert attention_boxes(heatmap)[1] == []
    assert attention_boxes(heatmap, whole_image=0.81)[1] == [(0, 0, 10, 8)]


def test_no_more_than_max_crops():
    heatmap = drawn((50, 50), *[(x, 2, x + 3, 5) for x in range(0, 50, 8)])

    assert len(attention_boxes(heatmap)[1]) == 4
    assert len(attention_boxes(heatmap, max_crops=7)[1]) == 7
    assert attention_boxes(heatmap, max_crops=0)[1] == []


def test_otsu_of_a_worked_case():
    # Of the splits of 0 0 3 4, "0 0 | 3 4" has the largest variance: 1/2 * 1/2 * 3.5^2.
    assert otsu_threshold(np.array([0, 0, 3, 4], dtype=np.uint8)) == 0
    # Of 0 1 | 9 9 10 the between-variance is 2/5 * 3/5 * (9.33 - 0.5)^2.
    assert otsu_threshold(np.array([0, 1, 9, 9, 10], dtype=np.uint8)) == 1


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1), (5, 9)])
def test_a_constant_heatmap_has_no_crops(value, shape):
    assert attention_boxes(np.full(shape, value, dtype=np.uint8)) == (0, [])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 3), dtype=np.float32),
        np.zeros((3, 3, 3), dtype=np.uint8),
        np.zeros(3, dtype=np.uint8),
        np.zeros((0, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_heatmap_is_refused(wrong):
    with pytest.raises(ValueError, match="non-empty uint8 matrix"):
        attention_boxes(wrong)


@given(heatmaps)
def test_boxes_keep_their_limits(heatmap):
    threshold, boxes = attention_boxes(heatmap)
    height, width = heatmap.shape

    assert 0 <= threshold <= 255
    assert len(boxes) <= 4
    assert [
        b for b in boxes if not (0 <= b[0] < b[2] <= width and 0 <= b[1] < b[3] <= height)
    ] == []
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    assert areas == sorted(areas, reverse=True)
    assert all(iou(b, (0, 0, width, height)) < 0.8 for b in boxes)
    assert all(iou(a, b) <= 0.5 for i, a in enumerate(boxes) for b in boxes[:i])
    for left, top, right, bottom in boxes:
        part = heatmap[top:bottom, left:right] > threshold
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()


@given(heatmaps)
def test_mirroring_a_heatmap_mirrors_the_largest_box(heatmap):
    """The sizes of the boxes do not depend on left and right unless areas tie."""
    _, boxes = attention_boxes(heatmap, max_crops=100, overlap=1.0, whole_image=2.0)
    _, mirrored = attention_boxes(heatmap[:, ::-1], max_crops=100, overlap=1.0, whole_image=2.0)
    width = heatmap.shape[1]

    assert sorted((width - b[2], b[1], width - b[0], b[3]) for b in mirrored) == sorted(boxes)


def test_heatmap_bytes_scales_and_resizes_as_pillow_does():
    activation = np.array([[-1.0, 0.0], [1.0, 3.0]])
    expected = Image.fromarray(np.array([[0, 64], [128, 255]], dtype=np.uint8))

    assert heatmap_bytes(activation, 2).tolist() == [[0, 64], [128, 255]]
    resized = np.asarray(expected.resize((9, 9), Image.Resampling.BICUBIC))
    assert (heatmap_bytes(activation, 9) == resized).all()
    assert heatmap_bytes(activation, 9).dtype == np.uint8


def test_values_above_one_do_not_wrap_around():
    ramp = heatmap_bytes(np.linspace(0, 1000, 16).reshape(4, 4), 4)

    assert (np.diff(ramp.astype(int).ravel()) > 0).all()


@pytest.mark.parametrize("value", [0.0, -3.0, 1e300])
def test_a_constant_map_gives_zeros(value):
    assert not heatmap_bytes(np.full((3, 4), value), 8).any()


def test_the_widest_range_of_floats_is_scaled():
    largest = np.finfo(np.float64).max

    assert heatmap_bytes(np.array([[-largest, largest]]), 1).shape == (1, 1)
    assert heatmap_bytes(np.array([[-largest, largest], [0, 0]]), 2)[0].tolist() == [0, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        heatmap_bytes(np.array([[0.0, value]]), 4)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2), (0, 4)])
def test_what_is_no_map_is_refused(shape):
    with pytest.raises(ValueError, match="height x width"):
        heatmap_bytes(np.zeros(shape), 4)


@given(
    hnp.arrays(np.float32, (4, 5), elements=st.integers(-100, 100).map(float)),
    st.sampled_from([0.25, 2.0, 64.0]),
)
def test_heatmap_does_not_depend_on_the_scale_of_activations(activation, factor):
    assert (heatmap_bytes(activation, 12) == heatmap_bytes(activation * factor, 12)).all()


def test_cut_takes_the_part_and_resizes_it():
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[5:10, 10:20] = (255, 0, 9)
    crop = cut(Image.fromarray(pixels), (10, 5, 20, 10), 8)

    assert (crop.size, crop.mode) == ((8, 8), "RGB")
    assert (np.asarray(crop) == (255, 0, 9)).all()


@pytest.mark.parametrize("box", [(0, 0, 31, 5), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 0, 5, 21)])
def test_a_box_outside_the_image_is_refused(box):
    with pytest.raises(ValueError, match="30 x 20"):
        cut(Image.new("RGB", (30, 20)), box, 8)


def test_iou_of_worked_cases():
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == 1 / 7
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


@pytest.mark.parametrize("share", [0.2, 0.45, 0.6, 0.8])
def test_parts_are_those_of_labelling_each_pixel(share):
    dice = np.random.default_rng(round(100 * share))
    for height, width in ((1, 9), (9, 1), (7, 5), (24, 31), (40, 31)):
        foreground = dice.random((height, width)) < share
        foreground.flat[0] = not foreground.flat[-1]  # so that it is not constant
        filled = ndimage.binary_fill_holes(foreground)
        labelled, _ = ndimage.label(filled, structure=np.ones((3, 3)))
        slices = ndimage.find_objects(labelled)[::-1]
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
        boxes.sort(key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), reverse=True)

        heatmap = np.where(foreground, 200, 10).astype(np.uint8)
        assert attention_boxes(heatmap, 10**6, 1.0, 2.0) == (10, boxes)


def test_a_part_in_a_hole_in_a_part_in_a_hole_has_no_outer_contour():
    heatmap = drawn((40, 40), (2, 2, 38, 38))
    heatmap[4:36, 4:36] = 10
    heatmap[8:32, 8:32] = 200
    heatmap[10:30, 10:30] = 10
    heatmap[15:20, 15:20] = 200
    assert attention_boxes(heatmap, whole_image=2.0)[1] == [(2, 2, 38, 38)]
    heatmap[2:38, 20] = 10  # a way in from above and below, through both rings
    heatmap[0:2, 20] = 10
    boxes = attention_boxes(heatmap, 10, 1.0, 2.0)[1]
    assert (15, 15, 20, 20) in boxes
