"""What a study declares of a layer: its axes, its grid of tokens, the tokens before them."""

from resources.runtime.resource import FrozenSettings


class DeclaredLayout(FrozenSettings):
    """What a study says of one layer.

    Attributes:
        path: name in `named_modules()`.
        layout: a name or letters, see `dnd_assets.methods.layer_axes`; None takes what is found.
        grid: rows and columns of its tokens; None takes what is found.
        prefix_tokens: tokens before those; None takes what is found.
    """

    path: str
    layout: str | None = None
    grid: list[int] | None = None
    prefix_tokens: int | None = None
