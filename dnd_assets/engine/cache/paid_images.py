"""Pictures that were paid for: the files in the store, the calls in the lineage."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import StoreError
from dnd_assets.files.images import decode
from resources.servers.calls import StoredCall
from resources.servers.lineage_ledger import LineageLedger
from resources.servers.messages import JsonObject
from resources.text_to_image.image_server import picture_bytes

_HASH = "sha256:"


@dataclass(frozen=True)
class PictureLedger:
    """A `CallLedger` of image servers that keeps an answer's picture by its hash.

    Attributes:
        calls: keeps the calls, with the hash in the place of the picture.
        pictures: keeps the pictures.
    """

    calls: LineageLedger
    pictures: Pictures

    def get(self, request_hash: str) -> StoredCall | None:
        """The stored call of a request with its picture; None when its picture was removed."""
        call = self.calls.get(request_hash)
        if call is None or call.status != "ok":
            return call
        name = call.response["data"][0]["b64_json"].removeprefix(_HASH)
        try:
            data = self.pictures.data(name)
        except StoreError:
            return None
        return _with_picture(call, base64.b64encode(data).decode())

    def put(self, call: StoredCall) -> None:
        """Keep the picture, then the call."""
        if call.status == "ok":
            _, (name,) = self.pictures.keep([decode(picture_bytes(call.response))])
            call = _with_picture(call, f"{_HASH}{name}")
        self.calls.replace(call)


def _with_picture(call: StoredCall, picture: str) -> StoredCall:
    """The call with another text in the place of its picture."""
    data: list[JsonObject] = call.response["data"]
    response = {**call.response, "data": [{**data[0], "b64_json": picture}]}
    return replace(call, response=response)
