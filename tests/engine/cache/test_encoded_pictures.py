"""Pictures are encoded once while they are in memory, and as they are."""

import gc

from PIL import Image

from dnd_assets.engine.cache.encoded_pictures import EncodedPictures
from dnd_assets.files.atomic import sha256
from dnd_assets.files.images import encode_png


def test_a_picture_that_is_held_is_encoded_once_and_one_that_is_gone_is_forgotten():
    encoded, image = EncodedPictures(), Image.new("RGB", (3, 2), (1, 2, 3))
    data, name = encoded.of(image)
    assert (data, name) == (encode_png(image), sha256(data))
    assert encoded.of(image)[0] is data
    assert encoded.of(image.copy()) == (data, name)  # equal pixels, and an object of its own
    del image
    gc.collect()
    assert not encoded._by_id


def test_pictures_that_follow_each_other_in_memory_are_not_mixed_up():
    encoded = EncodedPictures()
    for shade in range(50):  # each is gone before the next is made, often in the same place
        image = Image.new("RGB", (2, 2), (shade, 0, 0))
        assert encoded.of(image)[0] == encode_png(image)
        del image
