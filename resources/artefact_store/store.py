"""Content-addressed files, written whole or not at all, and verified on read.

Small blobs (pictures) travel in packs and vectors in blocks, one safetensors file per layer, run
and batch, so that 2,048 units do not become 2,048 files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import PrivateAttr

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from resources.artefact_store.local_copies import copies_of
from resources.artefact_store.local_files import Files, FolderFiles
from resources.artefact_store.object_files import SCHEME, ObjectFiles
from resources.runtime.resource import Resource

STORE = "DND_STORE"
"""Environment variable: where artefacts lie of studies that do not say it."""
Arrays = dict[str, NDArray[np.generic]]


class ArtefactStore(Resource):
    """Files named by the SHA-256 of their content.

    Attributes:
        root: folder of the store, or `s3://bucket/prefix`.
        reading: whether it is only read: a damaged file is left where it is.
    """

    root: str
    reading: bool = False
    _verified: dict[str, Arrays] = PrivateAttr(default_factory=dict)
    _reading: AbstractContextManager[bool] = PrivateAttr(default_factory=RLock)

    @cached_property
    def _files(self) -> Files:
        if self.root.startswith(SCHEME):
            return ObjectFiles(self.root, copies_of(self.root))
        return FolderFiles(Path(self.root))

    def path(self, name: str) -> Path:
        """Where the file `name` (`<sha256>.<extension>`) lies, of a store in a folder.

        For people and tests; what works with artefacts uses the other methods.

        Raises:
            StoreError: when the store lies on object storage.
        """
        if not isinstance(self._files, FolderFiles):
            raise StoreError(f"the store {self.root} has no folder where {name} could lie")
        return self._files.path(name)

    def put(self, data: bytes, extension: str) -> str:
        """Store `data` and return its name, `<sha256>.<extension>`.

        Content that is stored already is not written again, unless the file on disk is damaged.
        """
        name = f"{sha256(data)}.{extension}"
        self._files.write(name, data)
        return name

    def get(self, name: str) -> bytes:
        """The content of `name`, after checking its hash.

        Raises:
            StoreError: when the file is missing or its content changed.
        """
        try:
            data = self._files.read(name)
        except OSError as error:
            reason = error.strerror or "it is not there"
            raise StoreError(_advice(name, f"cannot be read ({reason})")) from error
        if sha256(data) != name.partition(".")[0]:
            if not self.reading:
                self._files.set_aside(name)
            raise StoreError(_advice(name, "has changed since it was written"))
        return data

    def has(self, name: str) -> bool:
        """Whether the file is there and not empty; its content is checked when it is read."""
        return self._files.size(name) > 0

    def size(self, name: str) -> int:
        """Bytes of a stored file.

        Raises:
            StoreError: when it is not there.
        """
        byte_count = self._files.size(name)
        if byte_count < 0:
            raise StoreError(_advice(name, "is not there"))
        return byte_count

    def names(self) -> dict[str, int]:
        """Bytes of every file in the store by name, those that no record names included."""
        return self._files.names()

    def intact(self, name: str) -> bool:
        """Whether the content is what the name says; read anew, and left where it is."""
        return self._files.content_hash(name) == name.partition(".")[0]

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._files.remove(name)

    def set_aside(self, name: str) -> None:
        """Rename a damaged file to end in `.damaged`, so that it is out of use."""
        self._files.set_aside(name)

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


def store_of(home: Path, named: str = "", *, reading: bool = False) -> ArtefactStore:
    """The store of a state folder.

    Args:
        home: the state folder; its store lies in `store` there, unless another place is named.
        named: `s3://bucket/prefix` or a folder, as the study says; else `DND_STORE` may say it.
        reading: whether it is only read.
    """
    root = named or os.environ.get(STORE) or str(home / "store")
    return ArtefactStore(root=root, reading=reading)


def _advice(name: str, problem: str) -> str:
    return (
        f"artefact {name} {problem}. Nothing was taken from it; restore the file from a copy, or "
        "run again: what is missing is computed anew."
    )
