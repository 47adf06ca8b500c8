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
Fit = tuple[Grid, int, Verdict]
"""A grid of tokens, how many tokens stand before it, and what moving the patch showed of it."""
_DECLARE: Final = "say in [[models.layers]] what its axes are: layout, grid, prefix_tokens"


@dataclass(frozen=True)
class KnownLayout:
    """What is known of one layer.

    Attributes:
        layout: how its layer is read; None where it has no units.
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
        self._groups = self._layers_by_tensor()
        self._channels = self._known_channels()
        self._maps = self._map_sizes()

    def all(self) -> dict[str, KnownLayout]:
        """The layout of every layer that ran, by path."""
        # First each by its own type and output; what stays open then comes from related layers.
        layouts = {path: self._by_itself(path, layer) for path, layer in self.seen.items()}
        for _ in range(_ROUNDS):
            for path in sorted(layouts, key=lambda path: self.seen[path].order):
                if _is_open(layouts[path]):
                    layouts[path] = self._from_relatives(path, layouts) or layouts[path]
        for path in self.seen:
            if layouts[path].layout is None and layouts[path].channelless:
                layouts[path] = self._same_channels(path, layouts) or layouts[path]
        sizes = {
            f.layout.arranged_shape(self.seen[p].shape)[1:]
            for p, f in layouts.items()
            if f.layout is not None and f.layout.kind == "maps" and f.verdict is Verdict.PROVEN
        }
        layouts = {path: self._by_size(path, layout, sizes) for path, layout in layouts.items()}
        return {path: self._checked(path, layout, layouts) for path, layout in layouts.items()}

    def grid_verdict(self, path: str, axis: int, grid: Grid, prefix: int) -> Verdict:
        """The verdict of the moving patch on an order of tokens; `axis` is that of the tokens."""
        layer = self.seen[path]
        change = layer.change.get((left_axis(layer, axis),))
        return Verdict.OPEN if change is None else followed(gridded(change, grid, prefix)).verdict()

    def map_verdict(self, path: str, rows: int, columns: int) -> Verdict:
        """The verdict of the moving patch on two axes taken as rows and columns."""
        following = self._follow(self.seen[path], rows, columns)
        return Verdict.OPEN if following is None else following.verdict()

    # --- one layer by itself

    def _by_itself(self, path: str, layer: LayerOutput) -> KnownLayout:
        if not layer.floating:
            return KnownLayout(None, reason="gives whole numbers", verdict=Verdict.WRONG)
        if layer.batch is None or 0 in layer.shape or len(layer.shape) < 2:
            reason = f"{sizes_of(layer.shape)} has no axis with an entry per picture"
            return KnownLayout(None, reason=reason, verdict=Verdict.WRONG)
        channel = self._channels.get(path)
        if len(layer.shape) == 2:
            return KnownLayout(
                Layout(letters(layer, 1 - layer.batch, {})), "one number for each unit"
            )
        if len(layer.shape) == 3:
            return self._tokens(path, layer, channel)
        if len(layer.shape) == 4:
            return self._four_axes(path, layer, channel)
        if channel is None:
            return KnownLayout(
                None, reason=f"{len(layer.shape)} axes, {sizes_of(layer.shape)}; {_DECLARE}"
            )
        return KnownLayout(
            Layout(letters(layer, channel, {})), self._source(path),
            f"{len(layer.shape)} axes, of which no two are known as rows and columns",
        )  # fmt: skip

    def _source(self, path: str) -> str:
        return f"type {type(self.modules[path]).__name__}" if self._is_typed(path) else "neighbours"

    def _is_typed(self, path: str) -> bool:
        return channel_axis(self.modules[path], self.seen[path].shape) is not None

    def _four_axes(self, path: str, layer: LayerOutput, channel: int | None) -> KnownLayout:
        """A layer with four axes: maps, if two of its axes follow the patch."""
        axes = [axis for axis in range(4) if axis != layer.batch]
        fits = []
        for rows, columns in pairs(axes):
            following = self._follow(layer, rows, columns)
            if following is not None and following.verdict() is Verdict.PROVEN:
                third = next(axis for axis in axes if axis not in (rows, columns))
                fits.append((rows, columns, third))
        if channel is not None and fits and all(fit[2] != channel for fit in fits):
            if self._is_typed(path):
                reason = (
                    f"axis {channel} of {sizes_of(layer.shape)} follows a patch over the picture"
                )
                return KnownLayout(
                    None, reason=f"{reason}, so it holds places, not units; {_DECLARE}"
                )
            channel = None  # what takes the tensor may take its columns for channels
        fits = [fit for fit in fits if channel in (None, fit[2])]
        row_major = [fit for fit in fits if fit[0] < fit[1]]
        if len(row_major) == 1 and (len(fits) == 1 or channel is not None):
            rows, columns, third = row_major[0]
            if channel is None and grows(layer, third):
                return KnownLayout(None, reason=_unknown(layer), channelless=True)
            order = letters(layer, third, {rows: "h", columns: "w"})
            origin = "tested" if channel is None else f"{self._source(path)}, tested"
            return KnownLayout(Layout(order), origin, verdict=Verdict.PROVEN)
        if channel is None:
            return KnownLayout(None, reason=_unknown(layer), channelless=True)
        verdict = Verdict.WRONG if fits and not row_major else Verdict.OPEN
        places = [axis for axis in axes if axis != channel]
        if all(layer.shape[axis] == 1 for axis in places):
            order = letters(layer, channel, {places[0]: "h", places[1]: "w"})
            return KnownLayout(Layout(order), self._source(path), "a single place", Verdict.WRONG)
        return KnownLayout(
            Layout(letters(layer, channel, {})), self._source(path),
            f"axes of {' and '.join(str(layer.shape[a]) for a in places)} do not follow a patch "
            "that is moved over the picture as rows and columns do", verdict,
        )  # fmt: skip

    def _tokens(self, path: str, layer: LayerOutput, channel: int | None) -> KnownLayout:
        """A layer with three axes: tokens, if their order follows the patch."""
        axes = [axis for axis in range(3) if axis != layer.batch]
        candidates = []
        for axis in axes:
            units_axis = next(a for a in axes if a != axis)
            fit = self._best_grid(path, layer, axis)
            if axis == channel and fit is not None and not self._is_map_grid(fit):
                fit = None
            candidates.append((axis, units_axis, fit))
        proven = [(a, c, b) for a, c, b in candidates if b is not None and b[2] is Verdict.PROVEN]
        if len(proven) == 1:
            axis, units_axis, fit = proven[0]
            if not (grows(layer, units_axis) and self._channels.get(path) != units_axis):
                return self._proven_tokens(path, layer, axis, units_axis, fit)
        if channel is None:
            return KnownLayout(None, reason=_unknown(layer), channelless=True)
        axis = next(a for a in axes if a != channel)
        fit = next(b for a, _, b in candidates if a == axis)
        return self._unproven_tokens(path, layer, axis, channel, fit)

    def _is_map_grid(self, fit: Fit) -> bool:
        """Whether a grid is a convolution's map, too large to fit by chance: it outdoes a type."""
        return fit[0] in self._maps and fit[1] == 0 and math.prod(fit[0]) >= _LEAST_UNKNOWN

    def _proven_tokens(
        self, path: str, layer: LayerOutput, axis: int, channel: int, fit: Fit
    ) -> KnownLayout:
        grid, prefix, verdict = fit
        expected = prefix_of(self.modules, path)
        is_expected = expected is not None and expected.tokens == prefix
        layout = Layout(
            letters(layer, channel, {axis: "t"}), grid, prefix,
            bool(prefix and is_expected and expected is not None and expected.class_token),
        )  # fmt: skip
        source = self._source(path) if self._channels.get(path) == channel else "tested"
        token_source = "network's attributes, tested" if is_expected else "tested"
        return KnownLayout(layout, f"{source}; tokens: {token_source}", verdict=verdict)

    def _unproven_tokens(
        self, path: str, layer: LayerOutput, axis: int, channel: int, fit: Fit | None
    ) -> KnownLayout:
        count = layer.shape[axis]
        expected = prefix_of(self.modules, path) or Prefix(0, class_token=False)
        source = self._source(path)
        if count == 1:
            single = Layout(
                letters(layer, channel, {axis: "t"}),
                None,
                int(expected.class_token),
                expected.class_token,
            )
            return KnownLayout(single, source, "a single token", Verdict.WRONG)
        verdict = fit[2] if fit is not None else Verdict.WRONG
        extra = self._more_than_patches(count) if expected.tokens == 0 else 0
        if extra:
            return KnownLayout(
                None, reason=f"its {count} tokens are {extra} more than the patches, and what "
                f"those are and where they stand is not known; {_DECLARE}",
            )  # fmt: skip
        if expected.tokens == 0:
            return KnownLayout(
                Layout(letters(layer, channel, {})), source,
                f"its {count} tokens do not follow a patch that is moved over the picture row by "
                "row", verdict,
            )  # fmt: skip
        if fit is None or verdict is Verdict.WRONG:
            return KnownLayout(
                None, displaced=True,
                reason=f"its {count} tokens are not the patches row by row, with or without "
                f"the {expected.tokens} tokens that this network puts before them; {_DECLARE}",
            )  # fmt: skip
        _, prefix, _ = fit
        layout = Layout(
            letters(layer, channel, {axis: "t"}),
            None,
            prefix,
            bool(prefix and expected.class_token),
        )
        return KnownLayout(
            layout, f"{source}; tokens: network's attributes",
            "its tokens do not show where the patch is", verdict,
        )  # fmt: skip

    def _more_than_patches(self, count: int) -> int:
        """How many tokens there are besides those of a convolution's map; 0 where none fits."""
        areas = {math.prod(size) for size in self._maps} - {1}
        extras = [count - area for area in areas if 0 <= count - area <= min(_MOST_UNKNOWN, area)]
        return min(extras, default=0)

    def _best_grid(self, path: str, layer: LayerOutput, axis: int) -> Fit | None:
        """The grid, and the tokens before it, that fit a number of tokens best; None for none."""
        expected = prefix_of(self.modules, path)
        change = layer.change.get((left_axis(layer, axis),))
        fits: list[tuple[int, Grid, int, Verdict]] = []
        for grid, prefix in self._grids(layer.shape[axis], expected):
            following = None if change is None else followed(gridded(change, grid, prefix))
            is_expected = expected is not None and prefix in (0, expected.tokens)
            verdict = Verdict.OPEN if following is None else following.verdict(exact=True)
            if verdict is Verdict.PROVEN or is_expected or (expected is None and prefix == 0):
                fits.append((following.hits if following else 0, grid, prefix, verdict))
        proven = [fit for fit in fits if fit[3] is Verdict.PROVEN]
        if proven:
            best = max(proven, key=lambda fit: (fit[0], -fit[2], squareness(fit[1], self.pixels)))
            return best[1:]
        undecided = [fit for fit in fits if fit[3] is Verdict.OPEN] or fits
        return max(undecided)[1:] if undecided else None

    def _grids(self, count: int, expected: Prefix | None) -> Iterator[tuple[Grid, int]]:
        """Grids that `count` tokens may form, with the number of tokens before the grid.

        Of tokens before the others that nothing tells of, only with a grid that a convolution of
        the network has: among many grids one may fit by chance.
        """
        expected_lengths = {0, expected.tokens if expected else 0}
        longest = max(*expected_lengths, _MOST_UNKNOWN)
        for prefix in range(min(longest, count - 1) + 1):
            area = count - prefix
            shapes = {size for size in self._maps if math.prod(size) == area}
            if prefix in expected_lengths:
                shapes |= {grid for grid in factors(area) if squareness(grid, self.pixels) > -1.0}
            least_area = _LEAST_PLACES if prefix in expected_lengths else _LEAST_UNKNOWN
            yield from ((grid, prefix) for grid in sorted(shapes) if area >= least_area)

    def _follow(self, layer: LayerOutput, rows: int, columns: int) -> Followed | None:
        low, high = sorted((left_axis(layer, rows), left_axis(layer, columns)))
        change = layer.change.get((low, high))
        if change is None or 1 in change.shape[1:]:
            return None
        return followed(change if rows < columns else change.transpose(0, 2, 1))

    # --- from other layers

    def _from_relatives(self, path: str, layouts: Mapping[str, KnownLayout]) -> KnownLayout | None:
        """The layout of a related layer that has the same places; None where there is none."""
        layer, current = self.seen[path], layouts[path]
        for peer, role in self._relatives(path):
            source = layouts.get(peer)
            if source is None or source.layout is None or not source.layout.places:
                continue
            if not same_places(layer, self.seen[peer], source.layout):
                continue
            channel = self._channels.get(path)
            same_shape = layer.shape == self.seen[peer].shape
            if channel is None and not same_shape:
                continue
            axis = source.layout.axes.index("c")
            if channel not in (None, axis):
                continue
            origin = (
                f"{self._source(path) if channel is not None else 'channels'}, as {role} {peer}"
            )
            return replace(current, layout=source.layout, known=origin, reason="")
        return None

    def _same_channels(self, path: str, layouts: Mapping[str, KnownLayout]) -> KnownLayout | None:
        """The channels of a layer that hands on another's output, or is a copy of another."""
        layer = self.seen[path]
        copies = [peer for peer, role in self._relatives(path) if role == "its like,"]
        for peer in [*self._groups.get(layer.output, ()), *copies]:
            source = layouts[peer]
            if peer != path and source.layout is not None and layer.shape == self.seen[peer].shape:
                return replace(source, known=f"channels, as {peer}")
        return None

    def _relatives(self, path: str) -> Iterator[tuple[str, str]]:
        layer, module = self.seen[path], self.modules[path]
        if layer.inputs is not None:
            # What adds to its input, as a block of a transformer does, keeps its places, too.
            for peer in self._groups.get(layer.inputs, ()):
                earlier = peer != path and self.seen[peer].order < layer.order
                if earlier and (keeps_places(module) or self.seen[peer].shape == layer.shape):
                    yield peer, "its input"
        ancestor = path
        while "." in ancestor:
            ancestor = ancestor.rpartition(".")[0]
            if ancestor in self.seen:
                yield ancestor, "the module around it,"
        parent, _, name = path.rpartition(".")
        if name.isdigit():
            for number in range(int(name)):
                peer = f"{parent}.{number}" if parent else str(number)
                same_type = type(self.modules.get(peer)) is type(module)
                if same_type and peer in self.seen and self.seen[peer].shape == layer.shape:
                    yield peer, "its like,"

    def _by_size(self, path: str, current: KnownLayout, sizes: set[tuple[int, ...]]) -> KnownLayout:
        """Untestable maps of convolutions (small, mixed) get the layout of others of their size."""
        if current.layout is None or not _is_open(current) or len(self.seen[path].shape) != 4:
            return current
        layer = self.seen[path]
        if self._channels.get(path) != 1 or layer.batch != 0 or layer.shape[2:] not in sizes:
            return current
        return replace(current, layout=Layout("nchw"), known=f"{current.known}", reason="")

    def _checked(
        self, path: str, current: KnownLayout, layouts: Mapping[str, KnownLayout]
    ) -> KnownLayout:
        """The layout; without units where an axis holds heads or channels are mixed as places."""
        if current.layout is None or current.layout.places:
            return current
        layer = self.seen[path]
        four_axes = len(layer.shape) == 4 and current.layout.kind != "maps"
        if four_axes and any(are_heads(layer.shape, peer.shape) for peer in self.seen.values()):
            return KnownLayout(
                None, reason=f"{sizes_of(layer.shape)} are heads of attention; {_DECLARE}"
            )
        mixing = self._mixes_places(path, current.layout, layouts)
        if mixing:
            return KnownLayout(None, reason=f"{mixing}; {_DECLARE}")
        if not four_axes:
            return current
        tokens = {peer.shape[1] for peer in self.seen.values() if len(peer.shape) == 3}
        if layer.shape[2] == layer.shape[3] and layer.shape[2] in tokens - {1}:
            return KnownLayout(
                None, reason=f"{sizes_of(layer.shape)} is an attention of tokens by tokens"
            )
        prefix = prefix_of(self.modules, path)
        if prefix is not None and prefix.tokens and self._channels.get(path) == 3:
            reason = f"{sizes_of(layer.shape)} may hold other tokens than patches; {_DECLARE}"
            return KnownLayout(None, reason=reason)
        return current

    def _mixes_places(self, path: str, layout: Layout, layouts: Mapping[str, KnownLayout]) -> str:
        """Why a layer's channels are no units: it works along places, or tokens are displaced."""
        layer, axis = self.seen[path], layout.axes.index("c")
        for source in self._groups.get(layer.inputs or 0, ()):
            before = layouts[source].layout
            if before is None or not before.places or len(before.axes) != len(layout.axes):
                continue
            if before.axes.index("c") != axis:
                return f"it works along the places of {source}, not along its channels"
        if len(layer.shape) != 3:
            return ""
        tokens = layer.shape[next(a for a in range(3) if a not in (axis, layer.batch))]
        proven = [
            self.seen[p].shape[f.layout.axes.index(letter)]
            for letter in "tc"
            for p, f in layouts.items()
            if f.layout is not None and "t" in f.layout.axes and f.verdict is Verdict.PROVEN
        ]
        counts, widths = set(proven[: len(proven) // 2]), set(proven[len(proven) // 2 :])
        if tokens in widths - counts:
            return f"its {tokens} rows are channels of other layers, whose places it mixes"
        if layout.prefix_tokens and tokens > 1 and tokens in self._displaced(layouts) - counts:
            return f"its {tokens} tokens are not first those before the patches, then the patches"
        return ""

    def _displaced(self, layouts: Mapping[str, KnownLayout]) -> set[int]:
        """Token counts of layers whose tokens are known to be out of order."""
        return {
            self.seen[path].shape[1]
            for path, entry in layouts.items()
            if entry.layout is None and len(self.seen[path].shape) == 3 and entry.displaced
        }

    # --- what the whole network tells

    def _layers_by_tensor(self) -> dict[int, list[str]]:
        """Paths of layers by the number of the tensor that they returned."""
        groups: dict[int, list[str]] = {}
        for path, layer in self.seen.items():
            groups.setdefault(layer.output, []).append(path)
        return groups

    def _known_channels(self) -> dict[str, int]:
        """The axis of channels by path, from the types of modules that give or take the tensor."""
        groups = Alike()
        for path, layer in self.seen.items():
            if keeps_layout(self.modules[path]) and layer.inputs is not None:
                groups.join(layer.output, layer.inputs)
        typed: dict[int, set[tuple[int, int]]] = {}
        for tensor, length, axis in self._typed_tensors():
            typed.setdefault(groups.top(tensor), set()).add((length, axis))
        channels: dict[str, int] = {}
        for path, layer in self.seen.items():
            own_axis = channel_axis(self.modules[path], layer.shape)
            axes = {
                a for n, a in typed.get(groups.top(layer.output), set()) if n == len(layer.shape)
            }
            if own_axis is not None or len(axes) == 1:
                channels[path] = axes.pop() if own_axis is None else own_axis
        return {path: axis for path, axis in channels.items() if axis != self.seen[path].batch}

    def _typed_tensors(self) -> Iterator[tuple[int, int, int]]:
        """Tensor number, number of axes and axis of channels, wherever a module's type tells it."""
        for path, layer in self.seen.items():
            module = self.modules[path]
            axis = channel_axis(module, layer.shape)
            if axis is not None:
                yield layer.output, len(layer.shape), axis
            if layer.inputs is not None and layer.input_shape is not None:
                axis = input_axis(module, layer.input_shape)
                if axis is not None:
                    yield layer.inputs, len(layer.input_shape), axis

    def _map_sizes(self) -> set[Grid]:
        """Rows and columns of all maps that convolutions and their like gave."""
        return {
            (layer.shape[2], layer.shape[3])
            for path, layer in self.seen.items()
            if len(layer.shape) == 4 and self._channels.get(path) == 1
        }


def _is_open(entry: KnownLayout) -> bool:
    return entry.verdict is Verdict.OPEN and (entry.layout is None or not entry.layout.places)


def _unknown(layer: LayerOutput) -> str:
    return (
        f"which axis of {sizes_of(layer.shape)} holds units is neither known nor shown; {_DECLARE}"
    )
