"""Scenes: what is read of them, the tiles that are cut, and triplets."""

import numpy as np
import pytest
from PIL import Image

from dnd_assets.errors import StudyError
from dnd_assets.known_answers.land_cover.cover import CoverMap
from dnd_assets.known_answers.land_cover.land_scenes import (
    cover_names,
    plain_name,
    read_scene,
    read_scenes,
)
from dnd_assets.known_answers.land_cover.triplets import draw_triplets
from dnd_assets.study.image_settings import Scenes
from dnd_assets.study.scenes import tiles_of
from tests.land_cover_scenes import write_scenes


class _Study:
    """As much of a study as tiles ask for."""

    def __init__(self, folder):
        self.path = folder.__truediv__


@pytest.fixture
def folder(tmp_path):
    write_scenes(tmp_path / "scenes")
    return tmp_path


def tiles(folder, side=8, home="home"):
    return tiles_of(_Study(folder), Scenes(folder="scenes", side=side), folder / home)


def test_names_are_those_of_a_caption():
    assert plain_name("Fallow/Idle Cropland") == "fallow cropland"
    assert plain_name("Winter Wheat") == "winter wheat"


def test_tiles_are_the_scene_cut_side_by_side(folder):
    found = tiles(folder)
    assert len(found.tiles) == 2 * 16
    scene = read_scene(folder / "scenes" / "scene0.npy")
    for number, tile in enumerate(found.tiles[:16]):
        row, column = divmod(number, 4)
        window = np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert np.array_equal(np.load(tile.picture), scene.bands[window]), "no code among the bands"
        assert np.array_equal(np.asarray(Image.open(tile.mask)), scene.codes[window])
        assert sum(count for _, count in tile.codes) == 64


def test_what_covers_most_is_the_class_of_a_tile(folder):
    for tile, name in zip(
        tiles(folder, 16).tiles, tiles(folder, 16).classes().values(), strict=True
    ):
        codes = np.asarray(Image.open(tile.mask))
        counts = {code: (codes == code).sum() for code in (1, 2, 3)}
        most = max(counts, key=lambda code: (counts[code], -code))
        assert name == {1: "rice", 2: "open water", 3: "tree nuts"}[most]


def test_a_rest_that_makes_no_tile_is_left_out_and_other_scenes_are_other_tiles(folder):
    assert len(tiles(folder, 12).tiles) == 2 * 4
    before = tiles(folder).tiles[0].picture
    write_scenes(folder / "scenes", seed=5)
    assert tiles(folder).tiles[0].picture != before


def test_a_code_without_a_name_is_called_by_its_number(folder):
    (folder / "scenes" / "cdl_codes.csv").write_text("code,land cover\n1,Rice\n")
    names = {one.name for one in tiles(folder).masks().concepts}
    assert names == {"rice", "land cover 2", "land cover 3"}


@pytest.mark.parametrize("what", ["folder", "scenes", "names"])
def test_what_is_missing_is_said_with_where_to_get_it(what, folder):
    if what == "folder":
        folder = folder / "nowhere"
    if what == "scenes":
        for one in (folder / "scenes").glob("*.npy"):
            one.unlink()
    if what == "names":
        (folder / "scenes" / "cdl_codes.csv").unlink()
    told = "columns code and land cover" if what == "names" else "tile2vec"
    with pytest.raises(StudyError, match=told):
        tiles(folder)


@pytest.mark.parametrize(
    "held", [np.zeros((8, 8)), np.zeros((8, 8, 5)), np.zeros((8, 8, 1), np.uint8)]
)
def test_what_is_no_scene_is_refused(held, folder):
    np.save(folder / "scenes" / "scene1.npy", held)
    with pytest.raises(StudyError, match=r"scene1\.npy"):
        tiles(folder)


def test_a_caption_says_what_covers_a_tile_and_nothing_of_other_pictures(folder):
    cover = CoverMap(folder / "scenes", 16)
    for window in cover.tiles:
        shares = dict(zip(cover.codes, cover.shares(window), strict=True))
        said = cover.caption(cover.pixels(window)).split(" and ")
        named = {1: "rice", 2: "open water", 3: "tree nuts"}
        assert set(said) == {named[code] for code, share in shares.items() if share >= 0.1}
        assert shares[next(c for c, n in named.items() if n == said[0])] == max(shares.values())
    assert cover.caption(np.zeros((16, 16, 3), np.uint8)) == ""


def test_pictures_and_texts_of_one_cover_are_near(folder):
    write_scenes(folder / "scenes", count=3)  # each cover has half a scene to itself
    cover = CoverMap(folder / "scenes", 8)
    texts = np.stack([cover.text_vector(text) for text in ("rice", "open water", "a tree nut")])
    assert np.allclose(np.linalg.norm(texts, axis=1), 1)
    for seed in range(6):
        for place, text in enumerate(("rice", "open water", "tree nuts")):
            picture = cover.painted(text, seed)
            assert (texts @ cover.vector(picture)).argmax() == place
            assert np.array_equal(picture, cover.painted(text, seed))
    assert cover.text_vector("a dog")[-1] == 1
    assert np.allclose(cover.text_vector("rice or tree nuts"), np.array([1, 0, 1, 0]) / 2**0.5)
    others = np.array([0, 1, 1, 1]) / 3**0.5
    assert np.allclose(cover.text_vector("not rice"), others), "what is not rice may be anything"


def test_triplets_are_of_the_scenes_and_the_same_for_the_same_seed(folder):
    scenes = [scene.bands for scene in read_scenes(folder / "scenes")]
    scenes = [np.full_like(scene, number) for number, scene in enumerate(scenes)]
    found = draw_triplets(scenes, 20, 8, 6, 1)
    assert found.shape == (20, 3, 4, 8, 8)
    for anchor, near, far in found:
        assert anchor.max() == near.max() != far.max(), "the distant tile is of another scene"
    assert np.array_equal(found, draw_triplets(scenes, 20, 8, 6, 1))
    assert not np.array_equal(found, draw_triplets(scenes, 20, 8, 6, 2))


def test_neighbours_are_near_and_the_distant_tile_of_a_single_scene_is_apart():
    rows, columns = np.mgrid[0:40, 0:40]
    scene = np.stack([rows, columns], axis=2).astype(np.int64)
    for anchor, near, far in draw_triplets([scene], 40, 8, 6, 0):
        corners = [tile.reshape(2, -1).min(axis=1) for tile in (anchor, near, far)]
        assert np.abs(corners[0] - corners[1]).max() <= 6
        assert np.abs(corners[0] - corners[2]).max() >= 8


def test_names_are_read_whatever_stands_beside_them(folder):
    assert cover_names(folder / "scenes") == {1: "rice", 2: "open water", 3: "tree nuts"}
