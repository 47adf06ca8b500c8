"""The captions themselves as candidates: the paper's ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from resources.summarisers.settings import SummariserSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.summarisers.base import Summariser


class NoSummariserSettings(SummariserSettings):
    """Every caption is a candidate, cleaned."""

    kind: Literal["none"] = "none"

    def build(self, context: BuildContext) -> Summariser:
        """The captions."""
        from resources.summarisers.base import CaptionsAsConcepts

        return CaptionsAsConcepts()
