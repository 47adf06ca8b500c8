"""Pictures by the SHA-256 of their bytes: probing images, crops and synthetic images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from dnd_assets.errors import StoreError
from dnd_assets.files import sha256
from dnd_assets.lineage.records import artefact_row
from dnd_assets.methods.images import decode, encode_png
from resources.artefacts import ArtefactStore
from resources.lineage_db import Lineage


@dataclass
class Pictures:
    """Loads pictures by content, wherever they lie now.

    Attributes:
        lineage: knows the paths of probing images and the packs of stored pictures.
        store: holds crops and synthetic images.
        max_pixels: limit for probing images.
    """

    lineage: Lineage
    store: ArtefactStore
    max_pixels: int
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _packs: dict[str, str] = field(default_factory=dict)

    def in_order(self, hashes: Iterable[str]) -> list[str]:
        """The distinct `hashes`, those of one pack beside each other, so that it is read once."""
        wanted = sorted(set(hashes))
        self._find(wanted)
        return sorted(wanted, key=lambda name: (self._packs.get(name, ""), name))

    def load(self, hashes: Sequence[str]) -> list[Image.Image]:
        """RGB pictures in the order of `hashes`, their bytes verified.

        Raises:
            StoreError: when a picture is nowhere, or its bytes have changed.
        """
        self._find(hashes)
        return [decode(self._read(name), self.max_pixels) for name in hashes]

    def data(self, name: str) -> bytes:
        """The verified bytes of one picture file.

        Raises:
            StoreError: as `load`.
        """
        self._find([name])
        return self._read(name)

    def keep(self, images: Sequence[Image.Image]) -> tuple[str, list[str]]:
        """Store pictures as PNG in one pack and record it.

        Returns:
            The pack's file name and the SHA-256 of each picture's PNG bytes.
        """
        blobs = [encode_png(image) for image in images]
        pack, hashes = self.store.put_pack(blobs)
        rows = [
            artefact_row(name, pack, "png", len(blob))
            for name, blob in zip(hashes, blobs, strict=True)
        ]
        self.lineage.commit({"artefacts": rows})
        self._packs.update(dict.fromkeys(hashes, pack))
        return pack, hashes

    def _find(self, hashes: Iterable[str]) -> None:
        unknown = [
            h for h in dict.fromkeys(hashes) if h not in self._packs and h not in self._paths
        ]
        if unknown:
            self._packs.update(self.lineage.locate(unknown))
            sql = (
                "SELECT hash, path FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) "
                "ORDER BY hash, path"
            )
            for row in self.lineage.query(sql, [unknown]):
                self._paths.setdefault(row["hash"], []).append(row["path"])

    def _read(self, name: str) -> bytes:
        for path in self._paths.get(name, []):
            try:
                data = Path(path).read_bytes()
            except OSError:
                continue
            if sha256(data) == name:
                return data
        if name in self._packs:
            return self.store.blob(self._packs[name], name)
        seen = ", ".join(self._paths.get(name, [])) or "nowhere"
        raise StoreError(
            f"image {name[:12]}… is not where it was (seen at: {seen}). It was moved, changed or "
            "removed: materialize probing_set again (`dnd run --assets probing_set`), then this."
        )
