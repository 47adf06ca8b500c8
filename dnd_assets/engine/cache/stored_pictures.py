"""Pictures by the SHA-256 of their bytes: probing images, crops and synthetic images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from dnd_assets.engine.cache.encoded_pictures import EncodedPictures
from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.images import (
    UnreadableImage,
    as_raster,
    decode,
    encode_png,
    fitted,
    looked_at,
)
from dnd_assets.files.rasters.arrays import both_views
from dnd_assets.files.rasters.deep import is_deep_png
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.files.rasters.reading import AS_FILES_SAY, Reading
from dnd_assets.lineage.records import artefact_row
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage
from resources.runtime.prefetch import Lazy
from resources.runtime.threads import in_threads

_SMALL_KEPT = 4_000
"""Thumbnails kept in memory; one of 40 pixels takes 6 kB."""
_EIGHT_BITS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")
"""Starts of files that hold 8-bit pictures, but for a PNG of 16 bits."""


@dataclass(frozen=True)
class PackedImages:
    """Stored pictures: the pack's file name, SHA-256 and bytes of each picture's PNG or NPZ.

    `elsewhere` names the pack of those that were stored before, and are not stored again.
    """

    file: str
    hashes: list[str]
    sizes: list[int]
    kind: str = "png"
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """The file that holds a picture: this pack, or an older one that has it already."""
        return self.elsewhere.get(name, self.file)


@dataclass
class Pictures:
    """Loads pictures by content, wherever they lie now.

    Attributes:
        lineage: knows the paths of probing images and the packs of stored pictures.
        store: holds crops and synthetic images.
        max_pixels: limit for probing images.
        reading: what the study says of how probing images are read and shown.
    """

    lineage: Lineage
    store: ArtefactStore
    max_pixels: int
    reading: Reading = AS_FILES_SAY
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _packs: dict[str, str] = field(default_factory=dict)
    _encoded: EncodedPictures = field(default_factory=EncodedPictures)
    _small: dict[tuple[str, int], Image.Image] = field(default_factory=dict)

    def in_order(self, hashes: Iterable[str]) -> list[str]:
        """The distinct `hashes`, those of one pack beside each other, so that it is read once."""
        distinct = sorted(set(hashes))
        self._find(distinct)
        return sorted(distinct, key=lambda name: (self._packs.get(name, ""), name))

    def load(self, hashes: Sequence[str]) -> list[Image.Image]:
        """RGB pictures in the order of `hashes`, as people see them, their bytes verified.

        Raises:
            StoreError: when a picture is nowhere, or its bytes have changed.
        """
        self._find(hashes)
        return in_threads(self.shown, hashes)

    def shown(self, name: str, data: bytes | None = None) -> Image.Image:
        """One picture as people see it, RGB.

        Args:
            name: its hash.
            data: its bytes, where they are at hand.

        Raises:
            StoreError: as `load`.
            UnreadableImage: when the bytes are no picture.
        """
        self._find([name])
        return decode(
            self._read(name) if data is None else data, self.max_pixels, self._reading_of(name)
        )

    def lazy_rasters(self, hashes: Sequence[str]) -> Sequence[Raster]:
        """As `raster`, each picture read when it is asked for, in any thread."""
        self._find(hashes)
        return Lazy(hashes, self.raster)

    def small(self, hashes: Sequence[str], height: int) -> list[Image.Image]:
        """Pictures as thumbnails in a strip of a height are; those of before are kept.

        Raises:
            StoreError: as `load`.
        """
        self._find(hashes)
        thumbnails = []
        for name in hashes:
            if (name, height) not in self._small:
                if len(self._small) >= _SMALL_KEPT:
                    self._small.clear()
                self._small[name, height] = fitted(self.shown(name), height)
            thumbnails.append(self._small[name, height])
        return thumbnails

    def raster(self, name: str) -> Raster:
        """One picture as it was measured; one that was painted is marked as a rendering.

        Raises:
            StoreError: as `load`.
            UnreadableImage: when the bytes are no picture.
        """
        self._find([name])
        picture = as_raster(self._read(name), self.max_pixels, self._reading_of(name))
        painted = not self._paths.get(name) and picture.shown is None
        return replace(picture, rendered=True) if painted else picture

    def file(self, name: str) -> bytes:
        """A file that programs show: the picture's own, or a PNG of its rendering.

        Raises:
            StoreError: as `load`.
        """
        data, reading = self.data(name), self._reading_of(name)
        eight_bit = data.startswith(_EIGHT_BITS) and not is_deep_png(data)
        if eight_bit and not reading.of_everything:
            return data
        try:
            image, raster = looked_at(data, self.max_pixels, reading)
        except UnreadableImage:
            return data
        return data if raster is None else encode_png(image)

    def _reading_of(self, name: str) -> Reading:
        """How a picture is read: a probing image as the study says, a stored one as it is."""
        return self.reading if self._paths.get(name) else AS_FILES_SAY

    def lazy(self, hashes: Sequence[str]) -> Sequence[Image.Image]:
        """As `load`, each picture read and decoded when it is asked for, in any thread."""
        self._find(hashes)
        return Lazy(hashes, self.shown)

    def data(self, name: str) -> bytes:
        """The verified bytes of one picture file.

        Raises:
            StoreError: as `load`.
        """
        self._find([name])
        return self._read(name)

    def keep(
        self, images: Sequence[Image.Image], rasters: Sequence[Raster] | None = None
    ) -> tuple[str, list[str]]:
        """Store pictures as PNG in one pack and record it.

        Args:
            images: as people see them.
            rasters: the same pictures as a network sees them, where it takes bands: both are kept
                in one file.

        Returns:
            The pack's file name and the SHA-256 of each picture's bytes.
        """
        packed = self.pack(images, rasters, again=True)
        self.record(packed)
        return packed.file, packed.hashes

    def pack(
        self,
        images: Sequence[Image.Image],
        rasters: Sequence[Raster] | None = None,
        *,
        again: bool = False,
    ) -> PackedImages:
        """Store pictures as PNG in one pack, in any thread, to be recorded by `record`.

        Compressing takes about as long as painting on a fast card, so threads share it.

        Args:
            images: as for `keep`.
            rasters: as for `keep`.
            again: whether pictures that are in another pack are stored in this one, too.
        """
        if rasters is None:
            encoded = in_threads(self._encoded.of, images)
        else:
            views = list(zip(rasters, map(np.asarray, images), strict=True))
            blobs = in_threads(lambda both: both_views(*both), views)
            encoded = [(blob, sha256(blob)) for blob in blobs]
        kind = "png" if rasters is None else "npz"
        # Pictures by retrieval are few and come again for every concept.
        names = [name for _, name in encoded]
        candidates = set() if again else {*names}
        packs_by_name = {name: self._packs[name] for name in candidates if name in self._packs}
        present_packs = {pack for pack in {*packs_by_name.values()} if self.store.has(pack)}
        stored_before = {
            name: pack for name, pack in packs_by_name.items() if pack in present_packs
        }
        new_blobs = [blob for blob, name in encoded if name not in stored_before]
        file = self.store.put_pack(new_blobs)[0] if new_blobs else stored_before[names[0]]
        return PackedImages(file, names, [len(blob) for blob, _ in encoded], kind, stored_before)

    def record(self, packed: PackedImages) -> None:
        """Record a stored pack."""
        rows = [
            artefact_row(name, packed.file, packed.kind, size)
            for name, size in zip(packed.hashes, packed.sizes, strict=True)
            if name not in packed.elsewhere
        ]
        if rows:
            self.lineage.commit({"artefacts": rows})
        self._packs.update({name: packed.place(name) for name in packed.hashes})

    def _find(self, hashes: Iterable[str]) -> None:
        unknown = [
            name
            for name in dict.fromkeys(hashes)
            if name not in self._packs and name not in self._paths
        ]
        if not unknown:
            return
        sql = (
            "SELECT hash, path FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY hash, path"
        )
        with self.lineage.connect():  # opened once for both
            self._packs.update(self.lineage.locate(unknown))
            for row in self.lineage.query(sql, [unknown]):
                self._paths.setdefault(row["hash"], []).append(row["path"])

    def _read(self, name: str) -> bytes:
        for path in self._paths.get(name, []):
            try:
                data = read_bytes(path)
            except OSError:
                continue
            if sha256(data) == name:
                return data
        if name in self._packs:
            return self.store.blob(self._packs[name], name)
        places = ", ".join(self._paths.get(name, [])) or "nowhere"
        raise StoreError(
            f"image {name[:12]}… is not where it was (seen at: {places}). It was moved, changed or "
            "removed: materialize probing_set again (`dnd run --assets probing_set`), then this."
        )


def whereabouts(
    pictures: Pictures, hashes: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Where pictures lie, by hash, for workers, which cannot query the lineage.

    Returns:
        Files of probing images, and packs of stored pictures.
    """
    pictures._find(hashes)
    paths = {name: pictures._paths[name] for name in hashes if name in pictures._paths}
    return paths, {name: pictures._packs[name] for name in hashes if name in pictures._packs}


def tell_whereabouts(
    pictures: Pictures, paths: Mapping[str, list[str]], packs: Mapping[str, str]
) -> None:
    """Tell where pictures lie; see `whereabouts`."""
    pictures._paths.update(paths)
    pictures._packs.update(packs)
