"""What captioner, encoder and painter of land cover have in common: a folder of scenes."""

from __future__ import annotations

from pathlib import Path

from dnd_assets.land_cover.cover import CoverMap, scenes_hash
from dnd_assets.lineage.fingerprint import Json
from resources.model import Model, ModelPart, find_part
from resources.runtime.compute import load_once


class LandCoverModel(Model):
    """Knows of tiles what the crop map says.

    Attributes:
        scenes: folder of scenes.
        side: of a tile, in pixels.
        base: folder that a relative path starts from.
    """

    scenes: str
    side: int = 50
    base: str | None = None

    def title(self) -> str:
        """The scenes."""
        return f"crop map of {self.scenes}"

    def check(self) -> object:
        """Find the scenes.

        Raises:
            StudyError: when there are none; says where to get some.
        """
        return scenes_hash(self._folder())

    def parts(self) -> list[ModelPart]:
        """The scenes alone."""
        return [find_part(self.title(), self.check)]

    def fingerprint(self) -> dict[str, Json]:
        """The content of the scenes and the code."""
        held = scenes_hash(self._folder())
        return {"kind": "land_cover", "scenes": held, "side": self.side, "code": self.code()}

    def cover(self) -> CoverMap:
        """What is known of the scenes, read once."""
        folder, side = self._folder(), self.side
        found: CoverMap = load_once(
            ("land cover", scenes_hash(folder), side), lambda: CoverMap(folder, side)
        )
        return found

    def _folder(self) -> Path:
        return (Path(self.base or ".") / Path(self.scenes).expanduser()).resolve()
