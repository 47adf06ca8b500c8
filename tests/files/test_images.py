"""Images: every kind of bad and unusual file, made here, and what becomes of it."""

import contextlib
import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dnd_assets.files.images import UnreadableImage, decode, encode_png, strip


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width=24, height=16):
    """A picture of smooth colours without symmetry."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 / width, y * 255 / height, (x + y) * 3], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG that claims a size and holds next to no data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind):
    assert (pixels(decode(saved(picture(), kind))) == pixels(picture())).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO", "JPEG2000", "AVIF"])
def test_lossy_formats_come_near(kind):
    found = pixels(decode(saved(picture(), kind, quality=95)))

    assert np.abs(found.astype(int) - pixels(picture())).mean() < 12


def test_nothing_is_kept_but_the_pixels():
    image = decode(saved(picture(), "JPEG", comment=b"secret", dpi=(300, 300)))

    assert image.info == {}


def reason(data, **options):
    with pytest.raises(UnreadableImage) as caught:
        decode(data, **options)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


def test_an_empty_file():
    assert reason(b"") == "the file is empty"


@pytest.mark.parametrize("data", [b"no image", b"\x00" * 1000, b"<svg></svg>", b"%!PS-Adobe"])
def test_a_file_that_is_no_image(data):
    assert reason(data).startswith("no image of a known format")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)

    assert reason(data[: int(len(data) * share)])


@pytest.mark.parametrize("part", ["data", "checksum"])
def test_damage_inside_a_png_is_noticed(part):
    data = bytearray(saved(picture()))
    place = data.index(b"IDAT") + 20 if part == "data" else data.index(b"IEND") - 5
    data[place] ^= 0xFF

    assert reason(bytes(data)).startswith("damaged")


def test_reasons_are_the_same_every_time():
    data = saved(picture(), "JPEG")[:300]

    assert reason(data) == reason(data)
    assert "0x" not in reason(b"no image")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 9_000), (100_000, 100_000)])
def test_a_huge_image_is_refused_from_its_header(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = time.process_time()
        assert reason(png_header(*size)).startswith("too large")
        assert time.process_time() - start < 0.5


def test_the_limit_of_pixels_is_the_largest_allowed():
    assert decode(saved(picture(10, 10)), max_pixels=100).size == (10, 10)
    assert reason(saved(picture(10, 10)), max_pixels=99) == (
        "too large: 10 x 10 pixels, more than 99"
    )


def test_pillow_may_be_asked_to_decode_more_than_it_warns_of():
    data = saved(Image.new("1", (10_000, 9_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, max_pixels=90_000_000).size == (10_000, 9_000)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    levels = np.array([[0, 257, 1000, 32_768, 65_535]], dtype=np.uint16)

    found = pixels(decode(saved(Image.fromarray(levels), kind)))

    assert found[0].tolist() == [[v] * 3 for v in (0, 1, 4, 128, 255)]
    dark = pixels(decode(saved(Image.fromarray(levels[:, :3]), kind)))
    assert dark[0].tolist() == [[v] * 3 for v in (0, 1, 4)]


def test_sixteen_bit_colour():
    rows = b"\x00" + struct.pack(">6H", 65_535, 32_896, 0, 257, 514, 65_535)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    assert pixels(decode(data))[0].tolist() == [[255, 128, 0], [1, 2, 255]]


def test_floats_and_long_integers_are_scaled_from_their_range():
    floats = np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)
    integers = np.array([[-100_000, 0, 100_000]], dtype=np.int32)

    for levels in (floats, integers):
        found = pixels(decode(saved(Image.fromarray(levels), "TIFF")))
        assert found[0, :, 0].tolist() == [0, 128, 255]
    flat = decode(saved(Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32)), "TIFF"))
    assert not pixels(flat).any()


def test_floats_that_are_not_finite():
    levels = np.array([[0.0, np.nan]], dtype=np.float32)

    assert reason(saved(Image.fromarray(levels), "TIFF")) == "it holds NaN or infinite values"


def test_cmyk():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))

    assert pixels(decode(saved(red, "TIFF")))[0, 0].tolist() == [255, 0, 0]
    found = pixels(decode(saved(red, "JPEG", quality=95)))[0, 0].astype(int)
    assert (np.abs(found - (255, 0, 0)) < 12).all()


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)

    for kind in ("PNG", "GIF"):
        assert pixels(decode(saved(image, kind)))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    found = pixels(decode(saved(image, "PNG", transparency=0)))
    assert found[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_alpha_is_laid_over_white():
    colours = np.array([[[0, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], dtype=np.uint8)

    found = pixels(decode(saved(Image.fromarray(colours))))

    assert found[0].tolist() == [[255, 255, 255], [255, 0, 0], [204, 204, 204]]
    grey = Image.fromarray(np.array([[[0, 0], [9, 255]]], dtype=np.uint8))
    assert grey.mode == "LA"
    assert pixels(decode(saved(grey)))[0].tolist() == [[255] * 3, [9] * 3]


def test_transparency_of_one_colour():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))

    found = pixels(decode(saved(image, transparency=(1, 2, 3))))

    assert found[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_black_and_white_and_grey():
    assert pixels(decode(saved(Image.new("1", (2, 2), 1)))).tolist() == [[[255] * 3] * 2] * 2
    assert pixels(decode(saved(Image.new("L", (1, 1), 7)))).tolist() == [[[7] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    assert pixels(decode(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_exif_rotation_is_applied(kind, orientation):
    """The corner that EXIF's table puts upper left is white, all else black."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((16, 24, 3), dtype=np.uint8)
    corners = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "bl", 7: "br", 8: "tr"}
    row, column = corners[orientation]
    top = slice(0, 8) if row == "t" else slice(8, 16)
    left = slice(0, 8) if column == "l" else slice(16, 24)
    stored[top, left] = 255
    options = {"quality": 95} if kind == "JPEG" else {}

    found = pixels(decode(saved(Image.fromarray(stored), kind, exif=exif, **options)))

    assert found.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    assert found[:6, :6].min() > 200
    assert found[-6:, -6:].max() < 50


def test_broken_exif_does_not_spoil_the_pixels():
    plain = saved(picture(), "JPEG")
    broken = saved(picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f\x00")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (pixels(decode(broken)) == pixels(decode(plain))).all()


@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF"]), st.data())
def test_damaged_bytes_give_an_image_or_the_one_error(kind, data):
    good = bytearray(saved(picture(), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(UnreadableImage):
            assert decode(bytes(good), max_pixels=1_000_000).mode == "RGB"


def test_a_png_depends_on_the_pixels_only():
    with_data = picture()
    with_data.info = {"dpi": (300, 300), "icc_profile": b"x", "comment": "y"}

    assert encode_png(with_data) == encode_png(picture())
    assert encode_png(picture()) != encode_png(picture(25))
    assert (pixels(decode(encode_png(picture()))) == pixels(picture())).all()
    assert with_data.info["comment"] == "y"
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = 0
    assert decode(encode_png(palette)).size == (4, 4)


def test_a_strip_holds_the_pictures_from_left_to_right():
    images = [Image.new("RGB", (10, 20), "red"), Image.new("L", (40, 20), 0)]

    row = strip(images, height=40, gap=4)

    assert row.size == (20 + 4 + 80, 40)
    found = pixels(row)
    assert (found[:, :20] == (255, 0, 0)).all()
    assert (found[:, 20:24] == 255).all()
    assert (found[:, 24:] == 0).all()


def test_a_strip_bounds_wide_pictures():
    row = strip([Image.new("RGB", (10_000, 10)), Image.new("RGB", (1, 10_000))])

    assert row.size == (4 * 96 + 4 + 1, 96)
    with pytest.raises(ValueError, match="at least one"):
        strip([])
