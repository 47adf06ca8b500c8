"""Whole slides cut into tiles, on a small pyramid that the test writes."""

import numpy as np
import pytest

from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.containers.contents import SlideTiles
from dnd_assets.files.containers.slides import is_slide, tiles_of
from dnd_assets.files.image_folders import listing
from dnd_assets.study.probing_images import image_files, scan_listing
from dnd_assets.study.study import parse_study
from tests.files.containers import pixels

pytest.importorskip("openslide", reason="needs openslide, of the extra slides")
LIMIT = 10_000_000
SIDE = 64


def slide(path, rows=4, columns=5):
    """A pyramid of three levels: white glass, with tissue of its own colour on some tiles."""
    import tifffile

    pixels = np.full((rows * SIDE + 10, columns * SIDE + 20, 3), 245, np.uint8)
    pixels += np.random.default_rng(0).integers(0, 3, pixels.shape, dtype=np.uint8)
    for place, (row, column) in enumerate([(0, 0), (1, 3), (2, 1), (3, 4)]):
        part = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        ramp = np.linspace(60, 220, SIDE)[None, :, None]
        pixels[part] = np.concatenate(
            [np.broadcast_to(ramp, (SIDE, SIDE, 1)), np.full((SIDE, SIDE, 1), 40 + 20 * place),
             np.full((SIDE, SIDE, 1), 150)], axis=2
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        level = pixels
        for number in range(3):
            options = {"subfiletype": 1} if number else {}
            file.write(level, tile=(SIDE, SIDE), photometric="rgb", metadata=None, **options)
            level = level[::2, ::2]
    return path, pixels


def test_tiles_with_tissue_are_the_pixels_of_the_slide(tmp_path):
    path, whole = slide(tmp_path / "slides" / "a.tif")
    found = scan_listing(listing(path.parent, tiles=SlideTiles(SIDE, 0, 0.5)), LIMIT)

    names = [one.path.removeprefix(f"{path}/") for one in found.files]
    assert names == [f"tiles-{SIDE}-0/{one}.png" for one in ("0-0", "1-3", "2-1", "3-4")]
    assert len(found.images) == 4
    for name in names:
        row, column = map(int, name.rpartition("/")[2].removesuffix(".png").split("-"))
        part = whole[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        assert np.array_equal(pixels(read_bytes(path / name)), part)


def test_levels_sides_and_shares_of_tissue(tmp_path):
    path, whole = slide(tmp_path / "a.tif")
    every = tiles_of(path, SlideTiles(SIDE, 0, 0.0))
    assert len(every.pictures) == 20  # what is cut at the edge is no tile
    half = tiles_of(path, SlideTiles(SIDE // 2, 1, 0.5))
    assert half.pictures == tuple(
        f"tiles-{SIDE // 2}-1/{one}.png" for one in ("0-0", "1-3", "2-1", "3-4")
    )
    part = pixels(read_bytes(path / half.pictures[1]))
    assert np.array_equal(part, whole[::2, ::2][32:64, 96:128])
    # A tile four times as large has tissue on a quarter of it.
    assert len(tiles_of(path, SlideTiles(2 * SIDE, 0, 0.2)).pictures) == 3
    assert tiles_of(path, SlideTiles(2 * SIDE, 0, 0.3)).pictures == ()
    for tiles, told in (
        (SlideTiles(SIDE, 7), "has 3 levels"),
        (SlideTiles(4000, 0), "smaller than a tile"),
    ):
        with pytest.raises(OSError, match=told):
            tiles_of(path, tiles)
    with pytest.raises(OSError, match="holds no tile"):
        read_bytes(path / "tiles-64-0/9-9.png")


def test_a_study_cuts_slides_where_it_says_so(tmp_path):
    path, _ = slide(tmp_path / "slides" / "a.tif")
    models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
    plain = {"folders": ["slides"]}
    for probing, count in ((plain | {"tiles": {"side": SIDE, "tissue": 0.5}}, 4), (plain, 1)):
        table = {"name": "m", "models": models, "probing_set": probing}
        assert len(image_files(parse_study(table, tmp_path), tmp_path / "home").files) == count
    assert is_slide(path)


def test_slides_without_tiles_and_damaged_ones_are_set_aside_by_name(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"no slide at all")
    (aside,) = scan_listing(listing(tmp_path), LIMIT).quarantined
    assert "a whole slide, which is no picture: say tiles" in aside.quarantined
    (aside,) = scan_listing(listing(tmp_path, tiles=SlideTiles()), LIMIT).quarantined
    assert "cannot be read as a whole slide" in aside.quarantined
