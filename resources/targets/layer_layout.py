"""Which axes of each layer's output are channels, rows, columns and tokens: known or tested.

Channels are known from the type and width of the module that gives or takes a tensor. Places are
tested by moving a bright patch over the picture (`dnd_assets.methods.moving_patch`); a layer whose
change tells nothing, such as an attention that mixes all places, takes them from the layer that it
reads from, lies in, or is a copy of. Where neither settles it there is no map, and where the
channels are not known there are no units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from torch import nn

from dnd_assets.methods.layer_axes import Layout
from dnd_assets.methods.moving_patch import Followed, Verdict, followed
from resources.targets.layer_shapes import (
    Alike,
    Grid,
    are_heads,
    factors,
    gridded,
    grows,
    left_axis,
    letters,
    pairs,
    same_places,
    sizes_of,
    squareness,
)
from resources.targets.layer_types import (
    Prefix,
    channel_axis,
    input_axis,
    keeps_layout,
    keeps_places,
    prefix_of,
)
from resources.targets.seen import LayerOutput, Survey

_MOST_UNKNOWN: Final = 8
_LEAST_UNKNOWN: Final = 9
_LEAST_PLACES: Final = 4
_ROUNDS: Final = 3
_DECLARE: Final = "say in [[models.layers]] what its axes are: layout, grid, prefix_tokens"


@dataclass(frozen=True)
class KnownLayout:
    """What is known of one layer.

    Attributes:
        layout: how its output is read; None where it has no units.
        known: how that is known, in a few words.
        reason: why there are no units, or no map.
        verdict: what moving the patch showed.
        channelless: whether it has no units only because its channels are not known.
        displaced: whether its tokens do not stand where the network's attributes say.
    """

    layout: Layout | None
    known: str = ""
    reason: str = ""
    verdict: Verdict = Verdict.OPEN
    channelless: bool = False
    displaced: bool = False


class Layouts:
    """The layouts of a network's layers, from a survey."""

    def __init__(self, module: nn.Module, survey: Survey) -> None:
        self.modules = dict(module.named_modules())
        self.seen = survey.seen
        self.pixels = survey.pixels[1:]
        self._groups = self._tensors()
        self._channels = self._known_channels()
        self._maps = self._map_sizes()

    def all(self) -> dict[str, KnownLayout]:
        """By path, every layer that ran; first those that tell themselves, then the others."""
        found = {path: self._own(path, one) for path, one in self.seen.items()}
        for _ in range(_ROUNDS):
            for path in sorted(found, key=lambda path: self.seen[path].order):
                if _open(found[path]):
                    found[path] = self._taken_over(path, found) or found[path]
        for path in self.seen:
            if found[path].layout is None and found[path].channelless:
                found[path] = self._alike(path, found) or found[path]
        sizes = {
            f.layout.arranged_shape(self.seen[p].shape)[1:]
            for p, f in found.items()
            if f.layout is not None and f.layout.kind == "maps" and f.verdict is Verdict.PROVEN
        }
        found = {path: self._by_size(path, one, sizes) for path, one in found.items()}
        return {path: self._checked(path, one, found) for path, one in found.items()}

    def grid_verdict(self, path: str, axis: int, grid: Grid, prefix: int) -> Verdict:
        """What moving the patch shows of an order of tokens; `axis` is that of the tokens."""
        one = self.seen[path]
        change = one.change.get((left_axis(one, axis),))
        return Verdict.OPEN if change is None else followed(gridded(change, grid, prefix)).verdict()

    def map_verdict(self, path: str, rows: int, columns: int) -> Verdict:
        """What moving the patch shows of two axes as rows and columns."""
        shown = self._follow(self.seen[path], rows, columns)
        return Verdict.OPEN if shown is None else shown.verdict()

    # --- one layer by itself

    def _own(self, path: str, one: LayerOutput) -> KnownLayout:
        if not one.floating:
            return KnownLayout(None, reason="gives whole numbers", verdict=Verdict.WRONG)
        if one.batch is None or 0 in one.shape or len(one.shape) < 2:
            why = f"{sizes_of(one.shape)} has no axis with an entry per picture"
            return KnownLayout(None, reason=why, verdict=Verdict.WRONG)
        channel = self._channels.get(path)
        if len(one.shape) == 2:
            return KnownLayout(Layout(letters(one, 1 - one.batch, {})), "one number for each unit")
        if len(one.shape) == 3:
            return self._tokens(path, one, channel)
        if len(one.shape) == 4:
            return self._four(path, one, channel)
        if channel is None:
            return KnownLayout(
                None, reason=f"{len(one.shape)} axes, {sizes_of(one.shape)}; {_DECLARE}"
            )
        return KnownLayout(
            Layout(letters(one, channel, {})), self._said(path),
            f"{len(one.shape)} axes, of which no two are known as rows and columns",
        )  # fmt: skip

    def _said(self, path: str) -> str:
        return f"type {type(self.modules[path]).__name__}" if self._typed(path) else "neighbours"

    def _typed(self, path: str) -> bool:
        return channel_axis(self.modules[path], self.seen[path].shape) is not None

    def _four(self, path: str, one: LayerOutput, channel: int | None) -> KnownLayout:
        """A layer with four axes: maps, if two of its axes follow the patch."""
        others = [axis for axis in range(4) if axis != one.batch]
        fits = []
        for rows, columns in pairs(others):
            shown = self._follow(one, rows, columns)
            if shown is not None and shown.verdict() is Verdict.PROVEN:
                left = next(axis for axis in others if axis not in (rows, columns))
                fits.append((rows, columns, left))
        if channel is not None and fits and all(fit[2] != channel for fit in fits):
            if self._typed(path):
                why = f"axis {channel} of {sizes_of(one.shape)} follows a patch over the picture"
                return KnownLayout(None, reason=f"{why}, so it holds places, not units; {_DECLARE}")
            channel = None  # what takes the tensor may take its columns for channels
        fits = [fit for fit in fits if channel in (None, fit[2])]
        upright = [fit for fit in fits if fit[0] < fit[1]]
        if len(upright) == 1 and (len(fits) == 1 or channel is not None):
            rows, columns, left = upright[0]
            if channel is None and grows(one, left):
                return KnownLayout(None, reason=_unknown(one), channelless=True)
            spelled = letters(one, left, {rows: "h", columns: "w"})
            known = "tested" if channel is None else f"{self._said(path)}, tested"
            return KnownLayout(Layout(spelled), known, verdict=Verdict.PROVEN)
        if channel is None:
            return KnownLayout(None, reason=_unknown(one), channelless=True)
        verdict = Verdict.WRONG if fits and not upright else Verdict.OPEN
        places = [axis for axis in others if axis != channel]
        if all(one.shape[axis] == 1 for axis in places):
            spelled = letters(one, channel, {places[0]: "h", places[1]: "w"})
            return KnownLayout(Layout(spelled), self._said(path), "a single place", Verdict.WRONG)
        return KnownLayout(
            Layout(letters(one, channel, {})), self._said(path),
            f"axes of {' and '.join(str(one.shape[a]) for a in places)} do not follow a patch that "
            "is moved over the picture as rows and columns do", verdict,
        )  # fmt: skip

    def _tokens(self, path: str, one: LayerOutput, channel: int | None) -> KnownLayout:
        """A layer with three axes: tokens, if their order follows the patch."""
        axes = [axis for axis in range(3) if axis != one.batch]
        tried = []
        for axis in axes:
            other = next(a for a in axes if a != axis)
            best = self._best_grid(path, one, axis)
            if axis == channel and best is not None and not self._surely(best):
                best = None
            tried.append((axis, other, best))
        proven = [(a, c, b) for a, c, b in tried if b is not None and b[2] is Verdict.PROVEN]
        if len(proven) == 1:
            axis, other, best = proven[0]
            if not (grows(one, other) and self._channels.get(path) != other):
                return self._proven_tokens(path, one, axis, other, best)
        if channel is None:
            return KnownLayout(None, reason=_unknown(one), channelless=True)
        axis = next(a for a in axes if a != channel)
        best = next(b for a, _, b in tried if a == axis)
        return self._unproven_tokens(path, one, axis, channel, best)

    def _surely(self, best: tuple[Grid, int, Verdict]) -> bool:
        """Whether an axis that a type says holds channels may hold places all the same."""
        return best[0] in self._maps and best[1] == 0 and math.prod(best[0]) >= _LEAST_UNKNOWN

    def _proven_tokens(
        self, path: str, one: LayerOutput, axis: int, channel: int, best: tuple[Grid, int, Verdict]
    ) -> KnownLayout:
        grid, prefix, verdict = best
        known = prefix_of(self.modules, path)
        named = known is not None and known.tokens == prefix
        layout = Layout(
            letters(one, channel, {axis: "t"}), grid, prefix,
            bool(prefix and named and known is not None and known.class_token),
        )  # fmt: skip
        said = self._said(path) if self._channels.get(path) == channel else "tested"
        how = "network's attributes, tested" if named else "tested"
        return KnownLayout(layout, f"{said}; tokens: {how}", verdict=verdict)

    def _unproven_tokens(
        self,
        path: str,
        one: LayerOutput,
        axis: int,
        channel: int,
        best: tuple[Grid, int, Verdict] | None,
    ) -> KnownLayout:
        count = one.shape[axis]
        known = prefix_of(self.modules, path) or Prefix(0, class_token=False)
        said = self._said(path)
        if count == 1:
            alone = Layout(
                letters(one, channel, {axis: "t"}), None, int(known.class_token), known.class_token
            )
            return KnownLayout(alone, said, "a single token", Verdict.WRONG)
        verdict = best[2] if best is not None else Verdict.WRONG
        more = self._more_than_patches(count) if known.tokens == 0 else 0
        if more:
            return KnownLayout(
                None, reason=f"its {count} tokens are {more} more than the patches, and what those "
                f"are and where they stand is not known; {_DECLARE}",
            )  # fmt: skip
        if known.tokens == 0:
            return KnownLayout(
                Layout(letters(one, channel, {})), said,
                f"its {count} tokens do not follow a patch that is moved over the picture row by "
                "row", verdict,
            )  # fmt: skip
        if best is None or verdict is Verdict.WRONG:
            return KnownLayout(
                None, displaced=True,
                reason=f"its {count} tokens are not the patches row by row, with or without "
                f"the {known.tokens} tokens that this network puts before them; {_DECLARE}",
            )  # fmt: skip
        _, prefix, _ = best
        layout = Layout(
            letters(one, channel, {axis: "t"}), None, prefix, bool(prefix and known.class_token)
        )
        return KnownLayout(
            layout, f"{said}; tokens: network's attributes",
            "its tokens do not show where the patch is", verdict,
        )  # fmt: skip

    def _more_than_patches(self, count: int) -> int:
        """How many tokens there are besides those of a convolution's map; 0 where none fits."""
        areas = {math.prod(size) for size in self._maps} - {1}
        more = [count - area for area in areas if 0 <= count - area <= min(_MOST_UNKNOWN, area)]
        return min(more, default=0)

    def _best_grid(
        self, path: str, one: LayerOutput, axis: int
    ) -> tuple[Grid, int, Verdict] | None:
        """The grid, and the tokens before it, that fit a number of tokens best; None for none."""
        known = prefix_of(self.modules, path)
        change = one.change.get((left_axis(one, axis),))
        found: list[tuple[int, Grid, int, Verdict]] = []
        for grid, prefix in self._grids(one.shape[axis], known):
            shown = None if change is None else followed(gridded(change, grid, prefix))
            told = known is not None and prefix in (0, known.tokens)
            verdict = Verdict.OPEN if shown is None else shown.verdict(exact=True)
            if verdict is Verdict.PROVEN or told or (known is None and prefix == 0):
                found.append((shown.hits if shown else 0, grid, prefix, verdict))
        proven = [one for one in found if one[3] is Verdict.PROVEN]
        if proven:
            best = max(proven, key=lambda fit: (fit[0], -fit[2], squareness(fit[1], self.pixels)))
            return best[1:]
        opened = [one for one in found if one[3] is Verdict.OPEN] or found
        return max(opened)[1:] if opened else None

    def _grids(self, count: int, known: Prefix | None) -> Iterator[tuple[Grid, int]]:
        """Grids that some tokens may make with some before them.

        Of tokens before the others that nothing tells of, only with a grid that a convolution of
        the network has: among many grids one may fit by chance.
        """
        told = {0, known.tokens if known else 0}
        most = max(*told, _MOST_UNKNOWN)
        for prefix in range(min(most, count - 1) + 1):
            area = count - prefix
            shapes = {size for size in self._maps if math.prod(size) == area}
            if prefix in told:
                shapes |= {grid for grid in factors(area) if squareness(grid, self.pixels) > -1.0}
            least = _LEAST_PLACES if prefix in told else _LEAST_UNKNOWN
            yield from ((grid, prefix) for grid in sorted(shapes) if area >= least)

    def _follow(self, one: LayerOutput, rows: int, columns: int) -> Followed | None:
        low, high = sorted((left_axis(one, rows), left_axis(one, columns)))
        change = one.change.get((low, high))
        if change is None or 1 in change.shape[1:]:
            return None
        return followed(change if rows < columns else change.transpose(0, 2, 1))

    # --- from other layers

    def _taken_over(self, path: str, found: Mapping[str, KnownLayout]) -> KnownLayout | None:
        """The layout of a layer that this one has its places from."""
        one, mine = self.seen[path], found[path]
        for other, how in self._relatives(path):
            theirs = found.get(other)
            if theirs is None or theirs.layout is None or not theirs.layout.places:
                continue
            if not same_places(one, self.seen[other], theirs.layout):
                continue
            channel = self._channels.get(path)
            alike = one.shape == self.seen[other].shape
            if channel is None and not alike:
                continue
            axis = theirs.layout.axes.index("c")
            if channel not in (None, axis):
                continue
            known = f"{self._said(path) if channel is not None else 'channels'}, as {how} {other}"
            return replace(mine, layout=theirs.layout, known=known, reason="")
        return None

    def _alike(self, path: str, found: Mapping[str, KnownLayout]) -> KnownLayout | None:
        """The channels of a layer that hands on another's output, or is a copy of another."""
        one = self.seen[path]
        copies = [other for other, how in self._relatives(path) if how == "its like,"]
        for other in [*self._groups.get(one.output, ()), *copies]:
            theirs = found[other]
            if other != path and theirs.layout is not None and one.shape == self.seen[other].shape:
                return replace(theirs, known=f"channels, as {other}")
        return None

    def _relatives(self, path: str) -> Iterator[tuple[str, str]]:
        one, module = self.seen[path], self.modules[path]
        if one.inputs is not None:
            # What adds to its input, as a block of a transformer does, keeps its places, too.
            for other in self._groups.get(one.inputs, ()):
                earlier = other != path and self.seen[other].order < one.order
                if earlier and (keeps_places(module) or self.seen[other].shape == one.shape):
                    yield other, "its input"
        above = path
        while "." in above:
            above = above.rpartition(".")[0]
            if above in self.seen:
                yield above, "the module around it,"
        parent, _, name = path.rpartition(".")
        if name.isdigit():
            for number in range(int(name)):
                other = f"{parent}.{number}" if parent else str(number)
                alike = type(self.modules.get(other)) is type(module)
                if alike and other in self.seen and self.seen[other].shape == one.shape:
                    yield other, "its like,"

    def _by_size(self, path: str, one: KnownLayout, sizes: set[tuple[int, ...]]) -> KnownLayout:
        """Maps of convolutions too small or too mixed to test: as others of their size."""
        if one.layout is None or not _open(one) or len(self.seen[path].shape) != 4:
            return one
        seen = self.seen[path]
        if self._channels.get(path) != 1 or seen.batch != 0 or seen.shape[2:] not in sizes:
            return one
        return replace(one, layout=Layout("nchw"), known=f"{one.known}", reason="")

    def _checked(
        self, path: str, one: KnownLayout, found: Mapping[str, KnownLayout]
    ) -> KnownLayout:
        """Without units where an axis is one of heads, or channels are mixed as places."""
        if one.layout is None or one.layout.places:
            return one
        seen = self.seen[path]
        four = len(seen.shape) == 4 and one.layout.kind != "maps"
        if four and any(are_heads(seen.shape, other.shape) for other in self.seen.values()):
            return KnownLayout(
                None, reason=f"{sizes_of(seen.shape)} are heads of attention; {_DECLARE}"
            )
        mixed = self._mixes_places(path, one.layout, found)
        if mixed:
            return KnownLayout(None, reason=f"{mixed}; {_DECLARE}")
        if not four:
            return one
        tokens = {other.shape[1] for other in self.seen.values() if len(other.shape) == 3}
        if seen.shape[2] == seen.shape[3] and seen.shape[2] in tokens - {1}:
            return KnownLayout(
                None, reason=f"{sizes_of(seen.shape)} is an attention of tokens by tokens"
            )
        known = prefix_of(self.modules, path)
        if known is not None and known.tokens and self._channels.get(path) == 3:
            reason = f"{sizes_of(seen.shape)} may hold other tokens than patches; {_DECLARE}"
            return KnownLayout(None, reason=reason)
        return one

    def _mixes_places(self, path: str, layout: Layout, found: Mapping[str, KnownLayout]) -> str:
        """Why its channels are no units: it works along places, or its tokens are displaced."""
        seen, axis = self.seen[path], layout.axes.index("c")
        for other in self._groups.get(seen.inputs or 0, ()):
            theirs = found[other].layout
            if theirs is None or not theirs.places or len(theirs.axes) != len(layout.axes):
                continue
            if theirs.axes.index("c") != axis:
                return f"it works along the places of {other}, not along its channels"
        if len(seen.shape) != 3:
            return ""
        tokens = seen.shape[next(a for a in range(3) if a not in (axis, seen.batch))]
        proven = [
            self.seen[p].shape[f.layout.axes.index(letter)]
            for letter in "tc"
            for p, f in found.items()
            if f.layout is not None and "t" in f.layout.axes and f.verdict is Verdict.PROVEN
        ]
        counts, widths = set(proven[: len(proven) // 2]), set(proven[len(proven) // 2 :])
        if tokens in widths - counts:
            return f"its {tokens} rows are channels of other layers, whose places it mixes"
        if layout.prefix_tokens and tokens > 1 and tokens in self._displaced(found) - counts:
            return f"its {tokens} tokens are not first those before the patches, then the patches"
        return ""

    def _displaced(self, found: Mapping[str, KnownLayout]) -> set[int]:
        """Numbers of tokens of layers that are known not to be in the order they should have."""
        return {
            self.seen[path].shape[1]
            for path, one in found.items()
            if one.layout is None and len(self.seen[path].shape) == 3 and one.displaced
        }

    # --- what the whole network tells

    def _tensors(self) -> dict[int, list[str]]:
        """Layers by the tensor that they gave."""
        groups: dict[int, list[str]] = {}
        for path, one in self.seen.items():
            groups.setdefault(one.output, []).append(path)
        return groups

    def _known_channels(self) -> dict[str, int]:
        """By path the axis of channels, from the types of what gives or takes the tensor."""
        same = Alike()
        for path, one in self.seen.items():
            if keeps_layout(self.modules[path]) and one.inputs is not None:
                same.join(one.output, one.inputs)
        told: dict[int, set[tuple[int, int]]] = {}
        for tensor, length, axis in self._told():
            told.setdefault(same.top(tensor), set()).add((length, axis))
        found: dict[str, int] = {}
        for path, one in self.seen.items():
            own = channel_axis(self.modules[path], one.shape)
            axes = {a for n, a in told.get(same.top(one.output), set()) if n == len(one.shape)}
            if own is not None or len(axes) == 1:
                found[path] = axes.pop() if own is None else own
        return {path: axis for path, axis in found.items() if axis != self.seen[path].batch}

    def _told(self) -> Iterator[tuple[int, int, int]]:
        """Tensor, number of axes and axis of channels, wherever a type tells it."""
        for path, one in self.seen.items():
            module = self.modules[path]
            axis = channel_axis(module, one.shape)
            if axis is not None:
                yield one.output, len(one.shape), axis
            if one.inputs is not None and one.input_shape is not None:
                axis = input_axis(module, one.input_shape)
                if axis is not None:
                    yield one.inputs, len(one.input_shape), axis

    def _map_sizes(self) -> set[Grid]:
        """Rows and columns of all maps that convolutions and their like gave."""
        return {
            (one.shape[2], one.shape[3])
            for path, one in self.seen.items()
            if len(one.shape) == 4 and self._channels.get(path) == 1
        }


def _open(one: KnownLayout) -> bool:
    return one.verdict is Verdict.OPEN and (one.layout is None or not one.layout.places)


def _unknown(one: LayerOutput) -> str:
    return f"which axis of {sizes_of(one.shape)} holds units is neither known nor shown; {_DECLARE}"
