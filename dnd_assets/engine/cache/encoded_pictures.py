"""Pictures as PNG, each encoded once while it is in memory."""

from __future__ import annotations

import weakref

from PIL.Image import Image

from dnd_assets.files.atomic import sha256
from dnd_assets.files.images import encode_png


class EncodedPictures:
    """The PNG and its SHA-256 of pictures that somebody still holds.

    A collection of captioned pictures gives the same few pictures for every concept, and holds
    them in memory: encoding and hashing them each time takes longer than all else about them. What
    is remembered goes with the picture, so nothing is kept of pictures that come once.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[Image], bytes, str]] = {}

    def of(self, image: Image) -> tuple[bytes, str]:
        """The bytes of a picture's PNG and their SHA-256; in any thread.

        Args:
            image: a picture that nobody draws on any more.
        """
        number = id(image)
        known = self._by_id.get(number)
        if known is not None and known[0]() is image:  # numbers come again
            return known[1], known[2]
        data = encode_png(image)
        name = sha256(data)
        held = weakref.ref(image, lambda reference: self._forget(number, reference))
        self._by_id[number] = (held, data, name)
        return data, name

    def _forget(self, number: int, reference: weakref.ref[Image]) -> None:
        known = self._by_id.get(number)
        if known is not None and known[0] is reference:
            del self._by_id[number]
