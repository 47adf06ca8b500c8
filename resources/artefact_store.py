"""The artefact store: content-addressed files, written atomically and verified on read.

Small blobs (pictures) travel in packs and vectors in blocks, one safetensors file per layer, run
and batch, so that 2,048 units do not become 2,048 files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import RLock

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import PrivateAttr

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256, write_atomic
from resources.runtime.resource import Resource

Arrays = dict[str, NDArray[np.generic]]


class ArtefactStore(Resource):
    """Files named by the SHA-256 of their content under `root`.

    Attributes:
        root: folder of the store.
        reading: whether it is only read: a damaged file is left where it is.
    """

    root: str
    reading: bool = False
    _verified: dict[str, Arrays] = PrivateAttr(default_factory=dict)
    _reading: AbstractContextManager[bool] = PrivateAttr(default_factory=RLock)

    def path(self, name: str) -> Path:
        """Where the file `name` (`<sha256>.<extension>`) lies."""
        return Path(self.root) / name[:2] / name

    def put(self, data: bytes, extension: str) -> str:
        """Store `data` and return its name, `<sha256>.<extension>`.

        Content that is stored already is not written again, unless the file on disk is damaged.
        """
        name = f"{sha256(data)}.{extension}"
        target = self.path(name)
        if not (target.is_file() and target.stat().st_size == len(data) and self._sound(name)):
            write_atomic(target, data)
        return name

    def get(self, name: str) -> bytes:
        """The content of `name`, after checking its hash.

        Raises:
            StoreError: when the file is missing or its content changed.
        """
        try:
            data = self.path(name).read_bytes()
        except OSError as error:
            raise StoreError(_advice(name, f"cannot be read ({error.strerror})")) from error
        if sha256(data) != name.partition(".")[0]:
            if not self.reading:
                with suppress(OSError):  # another process may have done so
                    self.path(name).replace(self.path(name).with_suffix(".damaged"))
            raise StoreError(_advice(name, "has changed since it was written"))
        return data

    def has(self, name: str) -> bool:
        """Whether the file is there and not empty; its content is checked when it is read."""
        try:
            return self.path(name).stat().st_size > 0
        except OSError:
            return False

    def put_arrays(self, arrays: Mapping[str, NDArray[np.generic]]) -> str:
        """Store named arrays as one safetensors file and return its name."""
        ordered = {key: np.asarray(arrays[key], order="C") for key in sorted(arrays)}
        return self.put(safetensors.numpy.save(ordered), "safetensors")

    def arrays(self, name: str) -> Arrays:
        """The named arrays of a safetensors file; the last few files stay in memory."""
        with self._reading:  # threads that read ahead often want the same pack
            if name not in self._verified:
                while len(self._verified) >= 8:  # bounds memory; a file read again is only slower
                    self._verified.pop(next(iter(self._verified)))
                self._verified[name] = safetensors.numpy.load(self.get(name))
            return self._verified[name]

    def put_pack(self, blobs: Sequence[bytes]) -> tuple[str, list[str]]:
        """Store blobs together in one file; returns its name and each blob's SHA-256."""
        hashes = [sha256(blob) for blob in blobs]
        pack = {h: np.frombuffer(b, np.uint8) for h, b in zip(hashes, blobs, strict=True)}
        return self.put_arrays(pack), hashes

    def blob(self, pack: str, blob_hash: str) -> bytes:
        """One blob of a pack, after checking its own hash.

        Raises:
            StoreError: when the pack does not hold it or its content changed.
        """
        arrays = self.arrays(pack)
        if blob_hash not in arrays:
            raise StoreError(_advice(pack, f"does not hold {blob_hash[:12]}…"))
        data = arrays[blob_hash].tobytes()
        if sha256(data) != blob_hash:
            raise StoreError(_advice(pack, f"holds {blob_hash[:12]}… with other content"))
        return data

    def _sound(self, name: str) -> bool:
        try:
            self.get(name)
        except StoreError:
            return False
        return True


def _advice(name: str, what: str) -> str:
    return (
        f"artefact {name} {what}. Nothing was taken from it; restore the file from a copy, or run "
        "again: what is missing is computed anew."
    )
