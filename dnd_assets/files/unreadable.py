"""What is raised of bytes that are no picture, or none that can be used."""

from __future__ import annotations

from typing import Final

from dnd_assets.errors import DndError

NOT_FINITE: Final = "it holds NaN or infinite values"
"""Why a picture of floats is set aside where nothing says that these mean no data."""


class UnreadableImage(DndError):  # noqa: N818 (named after what it says of the file)
    """The bytes are no image that can be used; `reason` says why, for the quarantine list."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"unreadable image: {reason}")
        self.reason = reason
