"""A function of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from resources.captioners.settings import CaptionerSettings

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class OwnCaptionerSettings(CaptionerSettings):
    """A function that takes a picture and returns a sentence; see docs/extend.md.

    Attributes:
        source: the function, as `package.module:function`.
    """

    kind: Literal["own"] = "own"
    source: str | None = None

    @model_validator(mode="after")
    def _function_named(self) -> Self:
        if not self.source:
            raise ValueError("kind = 'own' needs a function: source = 'my_captioner:caption'")
        return self

    def build(self, context: BuildContext) -> Captioner:
        """The function, not imported yet."""
        from resources.captioners.custom import OwnCaptioner

        return OwnCaptioner(**self.options, base=context.base)
