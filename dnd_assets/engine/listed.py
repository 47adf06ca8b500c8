"""One part of one model of a study, as commands list it; light, and made by `engine.models`."""

from __future__ import annotations

from dataclasses import dataclass

from resources.model import ModelPart


@dataclass(frozen=True)
class Listed:
    """One part of one model of a study.

    Attributes:
        role: what the model does in the study, such as `captioner`.
        used_by: the field of the study's context that stages list under `uses`, or the one asset
            that works with it.
        section: of the study, where it is named.
        part: what it is made from.
    """

    role: str
    used_by: str
    section: str
    part: ModelPart

    @property
    def name(self) -> str:
        """The role, with the part's own within its model."""
        return f"{self.role}: {self.part.role}" if self.part.role else self.role

    def row(self, run: str, study: str, asset: str) -> dict[str, object]:
        """The row of table `models`."""
        part = self.part
        return {
            "run": run,
            "study": study,
            "asset": asset,
            "role": self.role,
            "part": part.role,
            "source": part.source,
            "revision": part.revision,
            "bytes": part.size,
            "licence": part.licence,
            "server": part.server,
        }
