"""What of a picture a transform keeps, found by showing it ramps."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dnd_assets.methods.segmentation.input_region import WHOLE, View, view
from dnd_assets.methods.segmentation.overlay import overlay


def _transform(*steps):
    ends = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.4] * 3, [0.2] * 3)]
    return v2.Compose([*steps, *ends])


@pytest.mark.parametrize(
    ("steps", "size", "box"),
    [
        ([v2.Resize((16, 16))], (64, 40), (0, 0, 64, 40)),
        ([v2.Resize((224, 224))], (100, 300), (0, 0, 100, 300)),
        # 256 of which 224 stay: one sixteenth is lost at each edge.
        ([v2.Resize(256), v2.CenterCrop(224)], (224, 224), (14, 14, 210, 210)),
        ([v2.Resize(256), v2.CenterCrop(224)], (448, 224), (126, 14, 322, 210)),
        ([v2.CenterCrop(32)], (64, 96), (16, 32, 48, 64)),
        ([], (20, 10), (0, 0, 20, 10)),
    ],
)
def test_the_box_that_is_kept(steps, size, box):
    found = view(_transform(*steps), *size).box(*size)
    assert found == pytest.approx(box, abs=1)


def test_the_box_is_exact_for_the_usual_crop():
    steps = [v2.Resize(256, v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)]
    assert view(_transform(*steps), 224, 224).box(224, 224) == (14, 14, 210, 210)


@pytest.mark.parametrize(
    "step", [v2.RandomHorizontalFlip(1.0), v2.RandomRotation((90, 90)), v2.Pad(40), v2.Pad((40, 0))]
)
def test_what_is_no_crop_counts_as_the_whole(step):
    assert view(_transform(step, v2.Resize((32, 32))), 64, 64) == WHOLE


def test_boxes_have_a_pixel_at_least():
    assert View(0.5, 0.5, 0.51, 0.51).box(4, 4) == (2, 2, 3, 3)


def test_a_map_is_drawn_where_it_lies():
    white = Image.new("RGB", (8, 4), "white")
    heat = torch.tensor([[0.0, 1.0]]).numpy()
    drawn = overlay(white, heat, 0.5, View(0.0, 0.0, 0.5, 1.0))
    assert drawn.size == white.size
    assert drawn.getpixel((3, 1)) == (255, 255, 255), "on in the right half of what is seen"
    assert drawn.getpixel((0, 1)) == (89, 89, 89)
    assert drawn.getpixel((7, 1)) == (89, 89, 89), "not seen"
    assert drawn.getpixel((4, 1)) == (255, 220, 0), "the rim"
