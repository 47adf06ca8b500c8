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
    module: nn.Module, survey: Survey, declarations: Iterable[DeclaredLayout] = ()
) -> dict[str, KnownLayout]:
    """What is known of each layer of a network that ran, by path; what is declared comes first.

    Raises:
        StudyError: when a declaration contradicts what a layer gives.
    """
    layouts = Layouts(module, survey)
    known_layouts = layouts.all()
    return {
        **known_layouts,
        **{
            declaration.path: declared(layouts, known_layouts.get(declaration.path), declaration)
            for declaration in declarations
        },
    }


def declared(
    layouts: Layouts, entry: KnownLayout | None, declaration: DeclaredLayout
) -> KnownLayout:
    """A layer's layout as the study declares it, checked against what comes out.

    Raises:
        StudyError: when the declaration contradicts what the layer gives.
    """
    path = declaration.path
    if path not in layouts.seen:
        raise StudyError(
            f"layer {path!r} gives no tensor in a pass of the network, so nothing can be declared "
            "of it. Remove `layout`, `grid` and `prefix_tokens` of that layer."
        )
    shape = layouts.seen[path].shape
    axes = _axes(layouts, entry, declaration)
    _check_axes(layouts, declaration, axes)
    if "t" not in axes:
        _check_map(declaration, axes, shape)
        if "h" not in axes:
            return KnownLayout(Layout(axes), _KNOWN, "declared without places")
        return KnownLayout(Layout(axes), _KNOWN, verdict=_patch_verdict(layouts, declaration, axes))
    layout = _tokens(layouts, entry, declaration, axes)
    if layout.grid is None:
        return KnownLayout(layout, _KNOWN, "declared without a grid, and none is known")
    verdict = layouts.grid_verdict(path, axes.index("t"), layout.grid, layout.prefix_tokens)
    return KnownLayout(layout, _KNOWN, verdict=verdict)


def _patch_verdict(layouts: Layouts, declaration: DeclaredLayout, axes: str) -> Verdict:
    """The moving patch's verdict on the declared rows and columns; an error if it refutes them."""
    verdict = layouts.map_verdict(declaration.path, axes.index("h"), axes.index("w"))
    if verdict is Verdict.WRONG:
        raise _refusal(
            layouts, declaration, "a bright patch moved over the picture changes other places of "
            "it: these are not its rows and columns",
        )  # fmt: skip
    return verdict


def _axes(layouts: Layouts, entry: KnownLayout | None, declaration: DeclaredLayout) -> str:
    if declaration.layout is not None:
        try:
            return axes_of(declaration.layout)
        except ValueError as error:
            raise StudyError(f"layout of layer {declaration.path!r}: {error}.") from error
    axes = entry.layout.axes if entry is not None and entry.layout is not None else ""
    if "t" in axes or axes.count("x") != 1:
        if axes:
            return axes
    elif axes:
        return axes.replace("x", "t")
    raise _refusal(layouts, declaration, "its axes are not known, so `layout` has to be said too")


def _check_axes(layouts: Layouts, declaration: DeclaredLayout, axes: str) -> None:
    output, module = layouts.seen[declaration.path], layouts.modules[declaration.path]
    if len(axes) != len(output.shape):
        raise _refusal(layouts, declaration, f"{axes!r} names {len(axes)} axes")
    if output.batch is not None and axes.index("n") != output.batch:
        raise _refusal(
            layouts, declaration, f"the pictures are on axis {output.batch}, not where n stands"
        )
    typed_axis = channel_axis(module, output.shape)
    if (
        typed_axis is not None
        and typed_axis != axes.index("c")
        and not isinstance(module, nn.Linear)
    ):
        kind = type(module).__name__
        raise _refusal(
            layouts,
            declaration,
            f"a {kind} has its {output.shape[typed_axis]} channels on axis {typed_axis}",
        )
    if not output.floating:
        raise _refusal(layouts, declaration, "it gives whole numbers, no activations")


def _check_map(declaration: DeclaredLayout, axes: str, shape: tuple[int, ...]) -> None:
    if declaration.prefix_tokens:
        raise StudyError(
            f"layer {declaration.path!r} is declared as {axes!r}, without tokens (t), and with "
            f"prefix_tokens = {declaration.prefix_tokens}. Leave one of them out."
        )
    if declaration.grid is None:
        return
    sizes = [shape[axes.index(letter)] for letter in "hw"] if "h" in axes else None
    if sizes != list(declaration.grid):
        raise StudyError(
            f"layer {declaration.path!r} is declared with grid = {list(declaration.grid)}, and "
            f"gives {' x '.join(map(str, shape))} ({axes}). Correct `grid`, or leave it out."
        )


def _tokens(
    layouts: Layouts, entry: KnownLayout | None, declaration: DeclaredLayout, axes: str
) -> Layout:
    output = layouts.seen[declaration.path]
    count = output.shape[axes.index("t")]
    expected = prefix_of(layouts.modules, declaration.path)
    base = entry.layout if entry is not None and entry.layout is not None else Layout(axes)
    grid = None if declaration.grid is None else (declaration.grid[0], declaration.grid[1])
    prefix = declaration.prefix_tokens
    if grid is None and base.grid is not None and prefix in (None, base.prefix_tokens):
        grid, prefix = base.grid, base.prefix_tokens
    if grid is not None and prefix is None:
        prefix = count - math.prod(grid)
        if prefix and (expected is None or expected.tokens != prefix):
            raise _refusal(
                layouts, declaration, f"{count} tokens are {prefix} more than the grid holds, and "
                "what they are is not known: say prefix_tokens",
            )  # fmt: skip
    if prefix is None:
        prefix = base.prefix_tokens
    if grid is not None and math.prod(grid) + prefix != count:
        raise _refusal(
            layouts,
            declaration,
            f"{grid[0]} x {grid[1]} tokens and {prefix} before them are not {count}",
        )
    if not 0 <= prefix < count:
        raise _refusal(
            layouts, declaration, f"{prefix} of {count} tokens cannot stand before the others"
        )
    if grid is not None and layouts.grid_verdict(
        declaration.path, axes.index("t"), grid, prefix
    ) is (Verdict.WRONG):
        raise _refusal(
            layouts, declaration, "a bright patch moved over the picture changes tokens elsewhere: "
            "they are not in this order",
        )  # fmt: skip
    has_class = expected is not None and expected.class_token and expected.tokens == prefix
    return Layout(axes, grid, prefix, bool(prefix and has_class))


def _refusal(layouts: Layouts, declaration: DeclaredLayout, reason: str) -> StudyError:
    settings = {
        "layout": declaration.layout,
        "grid": declaration.grid,
        "prefix_tokens": declaration.prefix_tokens,
    }
    written = ", ".join(
        f"{name} = {value!r}" for name, value in settings.items() if value is not None
    )
    shape = " x ".join(map(str, layouts.seen[declaration.path].shape))
    return StudyError(
        f"layer {declaration.path!r} is declared with {written}; it gives {shape} for one picture, "
        f"and {reason}. Correct the declaration, or leave it out."
    )
