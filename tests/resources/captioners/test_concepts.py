"""Captions from a fixed set of concepts."""

import numpy as np
import pytest

from dnd_assets.errors import NotFoundError, StudyError
from resources.captioners.concepts import ConceptCaptioner
from resources.encoders.base import ImageTextEncoder
from resources.encoders.open_clip import OpenClip
from tests.resources import tiny

AXES = {"red": 0, "green": 1, "blue": 2}


class Channels(ImageTextEncoder):
    """A picture is its mean colour, a text the channel it names: known by hand."""

    def title(self):
        return "channels"

    def check(self):
        pass

    def fingerprint(self):
        return {"channels": 1}

    def embed_images(self, images, batch_size, on_batch=None, progress=None):
        rows = [np.asarray(image.convert("RGB"), np.float32).mean(axis=(0, 1)) for image in images]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    def embed_texts(self, texts, batch_size=64):
        rows = np.zeros((len(texts), 3), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[AXES[text.split()[-1]]] = 1.0
        return rows


@pytest.fixture
def concepts(tmp_path):
    path = tmp_path / "concepts.txt"
    path.write_text("blue\ngreen\nred\n\nblue\n")
    return path


def make(path, encoder=None, **settings):
    return ConceptCaptioner(concepts=str(path), encoder=encoder or Channels(), **settings)


def plain(*colour):
    from PIL import Image

    return Image.new("RGB", (8, 8), colour)


PICTURES = [plain(200, 90, 10), plain(10, 200, 90), plain(90, 10, 200), plain(200, 200, 10)]


def test_a_caption_is_the_nearest_concept(concepts):
    found = make(concepts).caption(PICTURES, 3)

    assert found == ["red", "green", "blue", "green"], "red and green tie: by text"


def test_a_caption_may_name_several_nearest_first(concepts):
    found = make(concepts, top=2).caption(PICTURES[:3], 3)

    assert found == ["red, green", "green, blue", "blue, red"]
    assert make(concepts, top=9).caption(PICTURES[:1], 1) == ["red, green, blue"]


def test_neither_batch_nor_the_order_of_the_file_matters(concepts, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("red\r\nblue\r\ngreen")

    assert make(concepts).caption(PICTURES, 1) == make(other).caption(PICTURES, 4)
    assert make(concepts).fingerprint() == make("other.txt", base=str(tmp_path)).fingerprint()


def test_the_prompt_is_what_is_compared_not_what_is_said(concepts, clip_folder, cpu):
    """A real encoder, whose texts differ with the prompt."""
    clip = OpenClip(model=str(clip_folder), compute=cpu)
    images = tiny.pictures(6)
    texts = ["a drawing of blue", "a drawing of green", "a drawing of red"]
    products = clip.embed_images(images, 4) @ clip.embed_texts(texts).T

    asked = make(concepts, clip, prompt="a drawing of {concept}")

    assert asked.caption(images, 4) == [["blue", "green", "red"][i] for i in products.argmax(1)]
    assert asked.fingerprint() != make(concepts, clip).fingerprint()


def test_what_decides_is_in_the_fingerprint(concepts, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text(concepts.read_text() + "sand\n")
    prints = [make(concepts), make(concepts, top=2), make(concepts, prompt="a {concept}")]

    found = [str(one.fingerprint()) for one in [*prints, make(more)]]

    assert len(set(found)) == 4


def test_a_missing_or_broken_file_is_named(concepts):
    with pytest.raises(NotFoundError, match=r"concept\.txt.*nearest: concepts\.txt"):
        make(concepts.with_name("concept.txt")).check()
    concepts.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="not UTF-8"):
        make(concepts).check()
    assert make(concepts).caption([], 1) == []
