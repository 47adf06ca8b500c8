"""Pictures of further bands, bits and types: the values that are read, and how they are shown."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from rasterio.enums import ColorInterp

from dnd_assets.files.images import UnreadableImage, as_raster, decode
from dnd_assets.files.rasters.arrays import both_views
from dnd_assets.files.rasters.raster import Raster, upright
from dnd_assets.files.rasters.reading import Reading, Rendering
from dnd_assets.files.rasters.rendering import rendered
from dnd_assets.study.probing_images import inspect, scan
from tests.files.rasters import dicom, geotiff, npy, npz, pages, png16, ramp, tiff

LIMIT = 1_000_000


def pixels(data, reading=None):
    return np.asarray(decode(data, LIMIT, reading or Reading()))


def shown(data, **rendering):
    return pixels(data, Reading(rendering=Rendering(**rendering)))


def refused(data, reading=None):
    with pytest.raises(UnreadableImage) as caught:
        decode(data, LIMIT, reading or Reading())
    return caught.value.reason


def looked(tmp_path, name, data, **reading):
    (tmp_path / name).write_bytes(data)
    return inspect(tmp_path / name, LIMIT, Reading(**reading))


X_RAY = ramp(1)[0]  # 12 bits in 16


@pytest.mark.parametrize(
    "data",
    [
        png16(X_RAY[None]), tiff(X_RAY[None]), tiff(X_RAY[None], byteorder=">"), npy(X_RAY),
        npz(x=X_RAY), dicom(X_RAY), geotiff(X_RAY[None]), geotiff(X_RAY[None], compress="lzw"),
        tiff(X_RAY[None], compression="zlib", predictor=True), tiff(X_RAY[None].astype("f4")),
        tiff(X_RAY[None].astype("f8")), npy(X_RAY.astype("f2")), npy(np.asfortranarray(X_RAY)),
        npy(X_RAY.astype(">i4")), tiff(X_RAY[None].astype("u4")),
        b"P5\n# made here\n40 32\n65535\n" + X_RAY.astype(">u2").tobytes(),
    ],
)  # fmt: skip
def test_values_are_those_of_the_file_and_shown_from_2_to_98_percent(data):
    found = as_raster(data)

    assert found.values.shape == (1, 32, 40)
    assert np.array_equal(
        found.values[0].astype(float),
        X_RAY.astype(
            np.float16 if found.values.dtype == np.float32 and found.kind == "NPY" else X_RAY.dtype
        ),
    )
    low, high = np.percentile(found.values, [2, 98])
    wanted = np.rint(np.clip((found.values[0] - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(pixels(data)[..., 0], wanted)
    assert pixels(data).min() == 0
    assert pixels(data).max() == 255


@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_sixteen_bits_keep_their_low_bits(bands):
    values = ramp(bands, most=4095)
    values[3:] = 65_535
    for data in (
        png16(values),
        tiff(values, photometric="rgb", extrasamples=["unassalpha"][: bands - 3]),
    ):
        found = as_raster(data, LIMIT, Reading(bands=tuple(range(1, bands + 1))))
        assert np.array_equal(found.values, values)
        assert pixels(data).max() == 255
    assert np.array_equal(shown(png16(values), range=(0, 4095))[..., 1],
                          np.rint(values[1] / 4095 * 255))  # fmt: skip


def test_transparent_parts_of_sixteen_bits_are_laid_over_white():
    values = ramp(2)
    values[1] = 0
    values[1, :, 20:] = 65_535
    found = pixels(png16(values))
    assert (found[:, :20] == 255).all()
    assert found[0, 20, 0] < 200


def test_thirteen_bands_of_sixteen_bits_are_sentinel_2(tmp_path):
    values = np.random.default_rng(0).integers(0, 4000, (13, 20, 20), dtype=np.uint16)
    data = geotiff(values)
    wanted = np.rint(np.clip(values[[3, 2, 1]] / 3000, 0, 1) * 255)
    assert np.array_equal(np.moveaxis(pixels(data), 2, 0), wanted)
    assert "bands 4, 3, 2 (red, green, blue of Sentinel-2) shown from 0 to 3,000" in (
        looked(tmp_path, "a.tif", data).told
    )
    assert np.array_equal(shown(data, bands=(8, 4, 3), range=(0, 3000))[..., 0],
                          np.rint(np.clip(values[7] / 3000, 0, 1) * 255))  # fmt: skip


def test_infrared_that_is_tagged_as_alpha_is_no_transparency():
    values = np.random.default_rng(1).integers(1, 255, (4, 24, 24), dtype=np.uint8)
    values[3] = 0
    rgba = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    for options in ({}, {"compress": "lzw"}, {"interleave": "band"}):
        data = geotiff(values, photometric="RGB", colours=rgba, **options)
        assert np.array_equal(as_raster(data).values, values)
        assert np.array_equal(np.moveaxis(pixels(data), 2, 0), values[:3])
    # Without a place on the ground it is a picture with transparency, unless the study says more.
    plain = tiff(values, photometric="rgb", extrasamples=["unassalpha"])
    assert (pixels(plain) == 255).all()
    assert np.array_equal(np.moveaxis(pixels(plain, Reading(bands=(1, 2, 3, 4))), 2, 0), values[:3])
    assert np.array_equal(as_raster(plain, LIMIT, Reading(bands=(1, 2, 3, 4))).values, values)


def test_nodata_of_the_file_and_of_the_study_is_black_and_does_not_count():
    values = ramp(1, most=1000)
    values[0, :, :10] = 60_000
    by_file, by_study = geotiff(values, nodata=60_000), tiff(values)
    kept = values[0, :, 10:]
    low, high = np.percentile(kept, [2, 98])
    for found in (pixels(by_file), pixels(by_study, Reading(nodata=60_000))):
        assert not found[:, :10].any()
        wanted = np.rint(np.clip((kept - low) / (high - low), 0, 1) * 255)
        assert np.array_equal(found[:, 10:, 0], wanted)
    gap = ramp(1, dtype=np.float32)
    gap[0, 0, :3] = [np.nan, np.inf, -np.inf]
    assert refused(tiff(gap)) == "it holds NaN or infinite values"
    assert pixels(tiff(gap), Reading(nodata=math.nan)).max() == 255
    assert pixels(geotiff(gap, nodata=math.nan)).max() == 255


def test_floats_from_0_to_1_and_below_0():
    for low, high in ((0, 1), (-3, 3), (1e-6, 2e-6)):
        values = np.linspace(low, high, 400).reshape(1, 20, 20)
        for data in (tiff(values.astype("f4")), npy(values[0])):
            found = pixels(data)[..., 0].ravel().astype(int)
            assert (np.diff(found) >= 0).all()
            assert found[0] == 0
            assert found[-1] == 255
            assert abs(found[200] - 128) <= 1


def test_few_bright_spots_on_an_even_ground_are_seen():
    values = np.zeros((1, 100, 100), np.uint16)
    values[0, 5, 5:9] = [100, 200, 300, 400]
    assert pixels(tiff(values))[5, 5:9, 0].tolist() == [64, 128, 191, 255]


@pytest.mark.parametrize(("shape", "axes", "bands"), [
    ((30, 40), None, 1), ((30, 40, 5), None, 5), ((5, 30, 40), None, 5), ((30, 40, 1), None, 1),
    ((4, 30, 4), "chw", 4), ((4, 30, 4), "hwc", 4), ((90, 80, 70), "chw", 90),
])  # fmt: skip
def test_the_axes_of_arrays(shape, axes, bands):
    values = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    found = as_raster(npy(values), LIMIT, Reading(axes=axes)).values
    assert len(found) == bands
    if len(shape) == 3:
        last = axes == "hwc" or (axes is None and shape[2] == bands)
        assert np.array_equal(found, np.moveaxis(values, 2, 0) if last else values)


def test_arrays_of_which_nothing_tells_the_axes_or_the_name_are_refused():
    assert 'axes = "hwc" or "chw"' in refused(npy(np.zeros((4, 30, 4))))
    assert 'axes = "hwc" or "chw"' in refused(npy(np.zeros((90, 80, 70))))
    assert "two axes" in refused(npy(np.zeros((2, 3, 4, 5))))
    assert "two axes" in refused(npy(np.zeros(5)))
    assert "Python objects" in refused(npy(np.array([[1, None]], dtype=object)))
    assert "whole numbers" in refused(npy(np.zeros((3, 3), complex)))
    two = npz(image=X_RAY, mask=X_RAY > 5)
    assert "arrays image, mask; name the picture's by `array`" in refused(two)
    assert "none is 'x'" in refused(two, Reading(array="x"))
    assert np.array_equal(as_raster(two, LIMIT, Reading(array="image")).values[0], X_RAY)
    assert refused(npy(X_RAY)[:-5]).startswith("truncated")
    assert refused(npy(np.zeros((1001, 1000), np.uint8))).startswith("too large")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**40)}
    )
    assert refused(huge.getvalue()).startswith("too large")


def test_eight_bits_in_other_formats_are_shown_as_they_are():
    values = np.random.default_rng(0).integers(0, 60, (3, 30, 40), dtype=np.uint8)
    for data in (npy(np.moveaxis(values, 0, 2)), npy(values), npz(x=values)):
        assert np.array_equal(np.moveaxis(pixels(data), 2, 0), values)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_eight_bits_are_what_pillow_reads(kind, mode):
    shape = (30, 40, 3) if mode == "RGB" else (30, 40)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 9, shape, dtype=np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    data = buffer.getvalue()
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_pages_are_counted_and_chosen(tmp_path):
    one, two = (np.full((16, 16), value, np.uint8) for value in (50, 90))
    one[0, 0] = two[0, 0] = 200
    data = pages(one, two)
    first = looked(tmp_path, "a.tif", data)
    assert (first.animated, decode(data).getpixel((5, 5))) == (True, (50, 50, 50))
    assert as_raster(data, LIMIT, Reading(pages=2)).values[0, 5, 5] == 90
    both = as_raster(data, LIMIT, Reading(pages="bands")).values
    assert both[:, 5, 5].tolist() == [50, 90]
    assert not looked(tmp_path, "a.tif", data, pages="bands").animated
    assert refused(data, Reading(pages=3)) == "it has 2 pages, and `pages` asks for 3"
    other = pages(one, two[:8])
    assert "pages differ" in refused(other, Reading(pages="bands"))
    deep = pages(one.astype(np.uint16), two.astype(np.uint16))
    assert looked(tmp_path, "b.tif", deep).animated
    assert as_raster(deep, LIMIT, Reading(pages=2)).values[0, 5, 5] == 90


def test_smaller_copies_of_a_page_are_no_pages(tmp_path):
    import rasterio

    path = tmp_path / "a.tif"
    path.write_bytes(geotiff(np.random.default_rng(0).integers(0, 999, (4, 600, 600), dtype="u2")))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    assert not inspect(path, LIMIT).animated


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_values_as_it_turns_pictures(orientation):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(values).save(buffer, "PNG", exif=exif)
    wanted = np.asarray(decode(buffer.getvalue()))[..., 0]
    assert np.array_equal(upright(values[None], orientation)[0], wanted)


def window(values, centre, width):
    """PS3.3, C.11.2.1.2.1, for an output from 0 to 1."""
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def test_dicom_rescales_and_shows_its_window():
    stored = ramp(1)[0]
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}
    data = dicom(stored, WindowCenter="40", WindowWidth="400", **tags)
    hounsfield = stored * 2.0 - 1024
    found = as_raster(data)
    assert np.array_equal(found.values[0], hounsfield)
    assert found.full == (-1024, 4095 * 2 - 1024)
    assert np.abs(pixels(data)[..., 0] - window(hounsfield, 40, 400) * 255).max() <= 0.5 + 1e-6
    several = dicom(stored, WindowCenter=["40", "600"], WindowWidth=["400", "3000"], **tags)
    assert np.array_equal(pixels(several), pixels(data))
    second = pixels(several, Reading(window=2))[..., 0]
    assert np.abs(second - window(hounsfield, 600, 3000) * 255).max() <= 0.5 + 1e-6
    assert "asks for 3" in refused(several, Reading(window=3))
    full = shown(data, range=(-1024, 7166))
    assert full[0, -1, 0] == 255


def test_monochrome1_is_inverted_in_values_and_window():
    stored = ramp(1)[0]
    for tags in ({}, {"WindowCenter": "2048", "WindowWidth": "4096"}):
        bright, dark = (dicom(stored, kind, **tags) for kind in ("MONOCHROME2", "MONOCHROME1"))
        assert np.array_equal(as_raster(dark).values, 4095 - as_raster(bright).values)
        assert np.abs(pixels(dark).astype(int) + pixels(bright) - 255).max() <= 1


def test_signed_dicom_with_padding():
    stored = ramp(1, dtype=np.int16)[0] - 2000
    stored[:, :3] = -2048
    data = dicom(stored.astype(np.int16), PixelPaddingValue=-2048, RescaleSlope="1",
                 RescaleIntercept="0")  # fmt: skip
    found = as_raster(data)
    assert found.valid is not None
    assert not found.valid[:, :3].any()
    assert found.valid[:, 3:].all()
    assert found.values.min() == -2048


@pytest.mark.parametrize("bits", [8, 12])
def test_a_table_of_values_of_interest(bits):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    entries = np.linspace(2**bits - 1, 0, 600).astype(np.uint16)
    table.LUTDescriptor = [600, 100, bits]
    table.add_new(0x00283006, "US", entries.tolist())
    stored = ramp(1)[0]
    data = dicom(stored, VOILUTSequence=Sequence([table]))
    wanted = entries[np.clip(stored.astype(int) - 100, 0, 599)] / (2**bits - 1) * 255
    assert np.abs(pixels(data)[..., 0] - wanted).max() <= 0.5 + 1e-6


def test_dicom_frames_colours_and_files_without_preamble(tmp_path):
    frames = np.stack([ramp(1)[0], ramp(1)[0][:, ::-1]])
    data = dicom(frames)
    assert np.array_equal(as_raster(data).values[0], frames[0])
    assert looked(tmp_path, "a", data).animated
    assert np.array_equal(as_raster(data, LIMIT, Reading(pages=2)).values[0], frames[1])
    assert np.array_equal(as_raster(data, LIMIT, Reading(pages="bands")).values, frames)
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert np.array_equal(pixels(dicom(rgb, "RGB", 8)), rgb)
    import pydicom

    bare = io.BytesIO()
    file = pydicom.dcmread(io.BytesIO(dicom(X_RAY, StudyDate="20200101")))
    plain = pydicom.Dataset({elem.tag: elem for elem in file})
    pydicom.dcmwrite(bare, plain, implicit_vr=True, little_endian=True)
    assert np.array_equal(as_raster(bare.getvalue()).values[0], X_RAY)


def test_files_are_found_by_suffix_and_by_content(tmp_path):
    from dnd_assets.files.image_folders import listing

    held = {
        "a.dcm": dicom(X_RAY), "IM0001": dicom(X_RAY), "b.npy": npy(X_RAY), "c.npz": npz(x=X_RAY),
        "d.TIF": geotiff(ramp(4)), "e.png": png16(ramp(1)), "0001": npy(X_RAY),
    }  # fmt: skip
    for name, data in held.items():
        (tmp_path / name).write_bytes(data)
    found = listing(tmp_path)
    assert [path.name for path in found.files] == sorted(held)
    assert all(not file.quarantined for file in scan(found.files, LIMIT).files)


def test_what_needs_a_package_is_set_aside_and_says_which_extra(tmp_path, monkeypatch):
    import sys

    from dnd_assets.files.image_folders import listing
    from dnd_assets.files.rasters import extras

    (tmp_path / "a.dcm").write_bytes(dicom(X_RAY))
    packed = tiff(np.zeros((5, 16, 16), np.uint16))
    (tmp_path / "b.tif").write_bytes(geotiff(ramp(5), compress="lzw"))
    (tmp_path / "c.tif").write_bytes(packed)
    for name in ("pydicom", "rasterio"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    found = listing(tmp_path)
    aside = {file.path[-5:]: file.quarantined for file in scan(found.files, LIMIT).files}
    assert "pip install 'dnd-assets[dicom]'" in aside["a.dcm"]
    assert "LZW" in aside["b.tif"]
    assert "pip install 'dnd-assets[raster]'" in aside["b.tif"]
    assert aside["c.tif"] == ""


@pytest.mark.parametrize(("values", "told"), [
    (np.full((1, 20, 20), 7, np.uint16), "near black"),
    (np.zeros((3, 20, 20), np.uint8), "near black"),
    (np.full((3, 20, 20), 250, np.uint8), "near white"),
])  # fmt: skip
def test_nothing_comes_out_near_black_or_white_without_a_warning(tmp_path, values, told):
    data = npy(values)
    assert looked(tmp_path, "a.npy", data).doubt == told
    (line,) = (one for one in scan([tmp_path / "a.npy"], LIMIT).told() if "warning" in one)
    assert f"1 of 1 pictures come out {told}: " in line
    dark = Image.fromarray(np.random.default_rng(0).integers(0, 12, (20, 20, 3), dtype=np.uint8))
    dark.save(tmp_path / "b.png")
    assert inspect(tmp_path / "b.png", LIMIT).doubt == "near black"
    fixed = looked(tmp_path, "c.tif", tiff(ramp(1)), rendering=Rendering(range=(0, 65_535)))
    assert fixed.doubt == "near black"


def test_codes_of_classes_are_said_to_be_no_intensities(tmp_path):
    codes = np.random.default_rng(0).integers(1, 17, (4, 64, 64), dtype=np.uint16)
    assert "codes rather than intensities" in looked(tmp_path, "a.tif", geotiff(codes)).doubt


def test_a_colour_map_of_one_band():
    found = shown(tiff(ramp(1)), range=(0, 4095), colour_map="viridis")
    assert found[0, 0].tolist() == [0x44, 0x01, 0x54]
    assert found[0, -1].tolist() == [0xFD, 0xE7, 0x25]


def test_bands_that_a_picture_has_not_are_said():
    assert refused(tiff(ramp(2)), Reading(rendering=Rendering(bands=(4, 3, 2)))) == (
        "it has 2 bands, and `rendering.bands` asks for band 4"
    )


def test_both_views_in_one_file_come_back_and_its_bytes_are_its_content():
    values = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)
    valid = np.ones((8, 8), bool)
    valid[0] = False
    seen = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    raster = Raster(values, "x", valid, full=(0.0, 9.0))
    data = both_views(raster, seen)
    assert data == both_views(raster, seen)
    assert np.array_equal(pixels(data), seen)
    back = as_raster(data)
    assert np.array_equal(back.values, values)
    assert np.array_equal(back.valid, valid)
    assert back.full == (0.0, 9.0)
    assert np.array_equal(rendered(back, Reading()).pixels, seen)


@pytest.mark.parametrize("data", [geotiff(ramp(5)), npy(X_RAY), npz(x=X_RAY), dicom(X_RAY),
                                  png16(ramp(1)), png16(ramp(3))])  # fmt: skip
def test_cut_files_are_set_aside(tmp_path, data):
    for size in (len(data) // 2, 40):
        found = looked(tmp_path, "a.tif", data[:size])
        assert found.quarantined
        assert found.hash


class TestReferencePictures:
    """The right readings that are listed beside the reference pictures."""

    def test_infrared(self, shared_dir):
        import rasterio

        path = shared_dir / "imagery" / "naip_test.tif"
        with rasterio.open(path) as file:
            wanted = file.read()
        found = as_raster(path.read_bytes())
        assert found.kind == "GeoTIFF"
        assert np.array_equal(found.values, wanted)
        assert np.array_equal(np.moveaxis(pixels(path.read_bytes()), 2, 0), wanted[:3])

    def test_sentinel_2(self, shared_dir):
        import rasterio

        path = shared_dir / "imagery" / "eurosat_Forest_1.tif"
        with rasterio.open(path) as file:
            wanted = np.rint(np.clip(file.read([4, 3, 2]) / 3000, 0, 1) * 255)
        assert np.array_equal(np.moveaxis(pixels(path.read_bytes()), 2, 0), wanted)

    def test_codes(self, shared_dir):
        found = inspect(shared_dir / "imagery" / "sen12ms_lc.tif", LIMIT)
        assert "codes rather than intensities" in found.doubt

    def test_x_rays(self, shared_dir):
        import pydicom

        for name, inverted in (("rsna_xray.dcm", False), ("Fake_MONOHR1.dcm", True)):
            path = shared_dir / "imagery" / name
            stored = pydicom.dcmread(path).pixel_array
            wanted = 255 - stored if inverted else stored
            found = as_raster(path.read_bytes(), 2_000_000)
            assert np.array_equal(found.values[0], wanted)
            assert np.array_equal(np.asarray(decode(path.read_bytes()))[..., 0], wanted)

    def test_grey_png(self, shared_dir):
        path = shared_dir / "imagery" / "nih_00000001_000.png"
        wanted = np.asarray(Image.open(path))
        assert np.array_equal(pixels(path.read_bytes())[..., 0], wanted)

    def test_scenes_of_five_bands(self, shared_dir):
        path = shared_dir / "landcover" / "naip1.npy"
        wanted = np.load(path)
        found = as_raster(path.read_bytes(), LIMIT, Reading(bands=(1, 2, 3, 4)))
        assert np.array_equal(np.moveaxis(found.values, 0, 2), wanted)
        assert np.array_equal(pixels(path.read_bytes()), wanted[..., :3])


def enhanced(values, groups=(), shared=None, **tags):
    """A multi-frame DICOM whose frames tell rescaling and window in functional groups."""
    import pydicom
    from pydicom.dataset import Dataset

    def group(slope, shift, centre=None, width=None):
        one, rescaling = Dataset(), Dataset()
        rescaling.RescaleSlope, rescaling.RescaleIntercept = str(slope), str(shift)
        one.PixelValueTransformationSequence = [rescaling]
        if centre is not None:
            window = Dataset()
            window.WindowCenter, window.WindowWidth = str(centre), str(width)
            one.FrameVOILUTSequence = [window]
        return one

    file = pydicom.dcmread(io.BytesIO(dicom(values, **tags)))
    if groups:
        file.PerFrameFunctionalGroupsSequence = [group(*one) for one in groups]
    if shared:
        file.SharedFunctionalGroupsSequence = [group(*shared)]
    buffer = io.BytesIO()
    file.save_as(buffer)
    return buffer.getvalue()


def test_frames_of_enhanced_dicom_are_rescaled_as_their_groups_say():
    values = np.stack([ramp(1)[0], ramp(1, most=2000)[0]])
    own = enhanced(values, groups=[(1, -1024), (2, -1000, 500, 1000)])
    first, second = as_raster(own), as_raster(own, reading=Reading(pages=2))
    np.testing.assert_allclose(first.values[0], values[0] - 1024.0)
    np.testing.assert_allclose(second.values[0], values[1] * 2.0 - 1000)
    assert first.windowed == ""
    assert second.windowed == "window 500 of width 1000"
    expected = np.clip((second.values[0] - 500 + 0.5) / 999 + 0.5, 0, 1)
    np.testing.assert_allclose(second.window, expected, atol=2e-3)
    with pytest.raises(UnreadableImage, match="rescaled each in its own way"):
        as_raster(own, reading=Reading(pages="bands"))
    for_all = enhanced(values, shared=(2, 10))
    np.testing.assert_allclose(
        as_raster(for_all, reading=Reading(pages="bands")).values, values * 2.0 + 10
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_values_with_slope_and_intercept(photometric):
    values = np.arange(-600, 680, dtype=np.int16).reshape(32, 40)
    tags = {"bits": 16, "RescaleSlope": "2", "RescaleIntercept": "-1024"}
    found = as_raster(dicom(values, photometric, **tags))
    if photometric == "MONOCHROME2":
        np.testing.assert_allclose(found.values[0], values * 2.0 - 1024)
    else:  # stored values are turned about the middle of all that there can be
        np.testing.assert_allclose(found.values[0], (-1.0 - values) * 2 - 1024)
    bright = np.asarray(decode(dicom(values, photometric, **tags)).convert("L"), float)
    assert bool(bright[0].mean() < bright[-1].mean()) is (photometric == "MONOCHROME2")


def test_a_mark_of_no_data_that_nothing_declares_is_warned_of(tmp_path):
    values = np.linspace(0, 1, 32 * 40, dtype=np.float32).reshape(1, 32, 40)
    values[0, :4] = -9999
    unsaid = looked(tmp_path, "a.tif", tiff(values))
    assert "with -9999 in many pixels" in unsaid.doubt
    assert "write nodata = -9999" in unsaid.doubt
    assert looked(tmp_path, "b.tif", tiff(values), nodata=-9999).doubt == ""
    assert looked(tmp_path, "c.tif", geotiff(values, nodata=-9999)).doubt == ""
    whole = np.linspace(-32768, 32767, 32 * 40).astype(np.int16).reshape(1, 32, 40)
    assert looked(tmp_path, "d.tif", tiff(whole)).doubt == ""
    whole[0, :4] = -32768
    whole[0, 4:] = np.abs(whole[0, 4:])
    assert "with -32768" in looked(tmp_path, "e.npy", npy(whole)).doubt
