"""What most captions share, without a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from resources.summarisers.settings import SummariserSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.summarisers.base import Summariser


class ConsensusSettings(SummariserSettings):
    """The words and short phrases that most captions share."""

    kind: Literal["consensus"] = "consensus"

    def build(self, context: BuildContext) -> Summariser:
        """The consensus."""
        from resources.summarisers.base import ConsensusSummariser

        return ConsensusSummariser()
