"""What a study declares of layers, checked against what comes out of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from torch import nn

from dnd_assets.errors import StudyError
from dnd_assets.methods.layer_axes import Layout, axes_of
from dnd_assets.methods.moving_patch import Verdict
from resources.targets.declared_layout import DeclaredLayout
from resources.targets.layer_layout import KnownLayout, Layouts
from resources.targets.layer_types import channel_axis, prefix_of
from resources.targets.seen import Survey

_KNOWN: Final = "declared"


def layouts_of(
    module: nn.Module, survey: Survey, said: Iterable[DeclaredLayout] = ()
) -> dict[str, KnownLayout]:
    """What is known of each layer of a network that ran, by path; what is declared comes first.

    Raises:
        StudyError: when a declaration contradicts what a layer gives.
    """
    layouts = Layouts(module, survey)
    found = layouts.all()
    return {**found, **{one.path: declared(layouts, found.get(one.path), one) for one in said}}


def declared(layouts: Layouts, found: KnownLayout | None, said: DeclaredLayout) -> KnownLayout:
    """A layer's layout as the study declares it, checked against what comes out.

    Raises:
        StudyError: when the declaration contradicts what the layer gives.
    """
    path = said.path
    if path not in layouts.seen:
        raise StudyError(
            f"layer {path!r} gives no tensor in a pass of the network, so nothing can be declared "
            "of it. Remove `layout`, `grid` and `prefix_tokens` of that layer."
        )
    shape = layouts.seen[path].shape
    axes = _axes(layouts, found, said)
    _check_axes(layouts, said, axes)
    if "t" not in axes:
        _check_map(said, axes, shape)
        if "h" not in axes:
            return KnownLayout(Layout(axes), _KNOWN, "declared without places")
        return KnownLayout(Layout(axes), _KNOWN, verdict=_followed(layouts, said, axes))
    layout = _tokens(layouts, found, said, axes)
    if layout.grid is None:
        return KnownLayout(layout, _KNOWN, "declared without a grid, and none is known")
    shown = layouts.grid_verdict(path, axes.index("t"), layout.grid, layout.prefix_tokens)
    return KnownLayout(layout, _KNOWN, verdict=shown)


def _followed(layouts: Layouts, said: DeclaredLayout, axes: str) -> Verdict:
    """What moving a patch shows of the declared rows and columns, unless it refutes them."""
    shown = layouts.map_verdict(said.path, axes.index("h"), axes.index("w"))
    if shown is Verdict.WRONG:
        raise _refused(
            layouts, said, "a bright patch moved over the picture changes other places of it: "
            "these are not its rows and columns",
        )  # fmt: skip
    return shown


def _axes(layouts: Layouts, found: KnownLayout | None, said: DeclaredLayout) -> str:
    if said.layout is not None:
        try:
            return axes_of(said.layout)
        except ValueError as error:
            raise StudyError(f"layout of layer {said.path!r}: {error}.") from error
    axes = found.layout.axes if found is not None and found.layout is not None else ""
    if "t" in axes or axes.count("x") != 1:
        if axes:
            return axes
    elif axes:
        return axes.replace("x", "t")
    raise _refused(layouts, said, "its axes are not known, so `layout` has to be said too")


def _check_axes(layouts: Layouts, said: DeclaredLayout, axes: str) -> None:
    one, module = layouts.seen[said.path], layouts.modules[said.path]
    if len(axes) != len(one.shape):
        raise _refused(layouts, said, f"{axes!r} names {len(axes)} axes")
    if one.batch is not None and axes.index("n") != one.batch:
        raise _refused(layouts, said, f"the pictures are on axis {one.batch}, not where n stands")
    known = channel_axis(module, one.shape)
    if known is not None and known != axes.index("c") and not isinstance(module, nn.Linear):
        kind = type(module).__name__
        raise _refused(
            layouts, said, f"a {kind} has its {one.shape[known]} channels on axis {known}"
        )
    if not one.floating:
        raise _refused(layouts, said, "it gives whole numbers, no activations")


def _check_map(said: DeclaredLayout, axes: str, shape: tuple[int, ...]) -> None:
    if said.prefix_tokens:
        raise StudyError(
            f"layer {said.path!r} is declared as {axes!r}, without tokens (t), and with "
            f"prefix_tokens = {said.prefix_tokens}. Leave one of them out."
        )
    if said.grid is None:
        return
    there = [shape[axes.index(letter)] for letter in "hw"] if "h" in axes else None
    if there != list(said.grid):
        raise StudyError(
            f"layer {said.path!r} is declared with grid = {list(said.grid)}, and gives "
            f"{' x '.join(map(str, shape))} ({axes}). Correct `grid`, or leave it out."
        )


def _tokens(layouts: Layouts, found: KnownLayout | None, said: DeclaredLayout, axes: str) -> Layout:
    one = layouts.seen[said.path]
    count = one.shape[axes.index("t")]
    known = prefix_of(layouts.modules, said.path)
    base = found.layout if found is not None and found.layout is not None else Layout(axes)
    grid = None if said.grid is None else (said.grid[0], said.grid[1])
    prefix = said.prefix_tokens
    if grid is None and base.grid is not None and prefix in (None, base.prefix_tokens):
        grid, prefix = base.grid, base.prefix_tokens
    if grid is not None and prefix is None:
        prefix = count - math.prod(grid)
        if prefix and (known is None or known.tokens != prefix):
            raise _refused(
                layouts, said, f"{count} tokens are {prefix} more than the grid holds, and what "
                "they are is not known: say prefix_tokens",
            )  # fmt: skip
    if prefix is None:
        prefix = base.prefix_tokens
    if grid is not None and math.prod(grid) + prefix != count:
        raise _refused(
            layouts, said, f"{grid[0]} x {grid[1]} tokens and {prefix} before them are not {count}"
        )
    if not 0 <= prefix < count:
        raise _refused(layouts, said, f"{prefix} of {count} tokens cannot stand before the others")
    if grid is not None and layouts.grid_verdict(said.path, axes.index("t"), grid, prefix) is (
        Verdict.WRONG
    ):
        raise _refused(
            layouts, said, "a bright patch moved over the picture changes tokens elsewhere: they "
            "are not in this order",
        )  # fmt: skip
    has_class = known is not None and known.class_token and known.tokens == prefix
    return Layout(axes, grid, prefix, bool(prefix and has_class))


def _refused(layouts: Layouts, said: DeclaredLayout, why: str) -> StudyError:
    told = {"layout": said.layout, "grid": said.grid, "prefix_tokens": said.prefix_tokens}
    given = ", ".join(f"{name} = {value!r}" for name, value in told.items() if value is not None)
    shape = " x ".join(map(str, layouts.seen[said.path].shape))
    return StudyError(
        f"layer {said.path!r} is declared with {given}; it gives {shape} for one picture, and "
        f"{why}. Correct the declaration, or leave it out."
    )
