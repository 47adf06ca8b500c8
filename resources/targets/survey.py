"""The survey of a network before it is used: outputs of its layers, and what changes them.

Some passes of made-up pixels: one picture, the same again, a bright patch moved over it, two
pictures at once, and one of another size where the network takes it. What is concluded from them
stands in `resources.targets.layer_layout`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnd_assets.errors import StudyError
from dnd_assets.methods.moving_patch import boxes
from dnd_assets.methods.pooling import tensor_of
from resources.runtime.exact_passes import REFUSALS
from resources.runtime.memory import is_out_of_memory
from resources.targets.layer_types import channel_axis
from resources.targets.seen import Change, LayerOutput, Survey

_EXACT: Final = 1e-4
_NEARLY: Final = 0.05
_ALONE: Final = 0.02
_ALONE_NEARLY: Final = 0.2
_MORE_PASSES: Final = 4


@dataclass
class _FirstPass:
    """The first pass: values and shapes by path, and tensors kept so that no number is reused."""

    values: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, tuple[int | None, tuple[int, ...] | None]] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    held_tensors: list[Tensor] = field(default_factory=list)


def look(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, second: Tensor
) -> Survey:
    """Survey a network by forward passes of made-up pictures.

    Args:
        module: the network, in eval mode.
        run: a pass of float32 (B, channels, height, width), without gradients.
        pixels: a picture, float32 (1, channels, height, width), on the network's device.
        second: another one of the same shape.

    Raises:
        StudyError: when one picture gives other activations each time, or with others in its
            batch, or after other pictures; says the most likely cause.
    """
    with _random_state_restored():
        base = _first_pass(module, run, pixels)
        _check_repeats(module, run, pixels, base)
        pair_shapes = _paired_shapes(module, run, pixels, second, base)
        layers = {
            path: LayerOutput(
                tuple(value.shape),
                value.is_floating_point(),
                _batch_axis(tuple(value.shape), pair_shapes.get(path), paired=bool(pair_shapes)),
                base.outputs[path],
                base.inputs[path][0],
                base.inputs[path][1],
                order,
            )
            for order, (path, value) in enumerate(base.values.items())
            if path
        }
        _move_patch(module, run, pixels, base, layers)
        _check_memory(module, run, pixels, base)
        spoiled = _other_size(module, run, pixels, base, layers)
    _, channels, height, width = pixels.shape
    return Survey(layers, (channels, height, width), spoiled)


Read = Callable[[str, Tensor], None]


@contextmanager
def _hooked(
    module: nn.Module, read: Read, inputs: Callable[..., None] | None = None
) -> Iterator[None]:
    def hook(path: str) -> Callable[[object, object, object, object], None]:
        def after(_module: object, args: object, kwargs: object, output: object) -> None:
            try:
                values = tensor_of(output)
            except StudyError:
                return
            read(path, values)
            if inputs is not None:
                inputs(path, args, kwargs)

        return after

    handles = [
        submodule.register_forward_hook(hook(path), with_kwargs=True)
        for path, submodule in module.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_pass(module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor) -> _FirstPass:
    base = _FirstPass()
    copies: dict[int, Tensor] = {}

    def read(path: str, values: Tensor) -> None:
        base.held_tensors.append(values)
        copy = copies.get(id(values))
        # Blocks hand on the tensor of their last layer: one copy, unless it was written to since.
        if copy is None or not torch.equal(copy, values):
            copy = copies[id(values)] = values.detach().clone()
        base.values.pop(path, None)  # of a layer that runs twice the last output counts
        base.values[path] = copy
        base.outputs[path] = id(values)

    def inputs(path: str, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        tensor = next((v for v in [*args, *kwargs.values()] if isinstance(v, Tensor)), None)
        base.inputs[path] = (None, None)
        if tensor is not None:
            base.held_tensors.append(tensor)
            base.inputs[path] = (id(tensor), tuple(tensor.shape))

    try:
        with _hooked(module, read, inputs):
            run(pixels)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise _unfit(module, pixels, error) from error
    base.held_tensors.clear()
    return base


def _unfit(module: nn.Module, pixels: Tensor, error: Exception) -> StudyError:
    """The error for a network that does not take what its transform gives."""
    shape = tuple(pixels.shape[1:])
    convolution = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    expected = convolution.in_channels if convolution is not None else shape[0]
    channels = (
        f"Its first convolution takes {expected} channels, the transform gives {shape[0]}. "
        if expected != shape[0]
        else ""
    )
    if type(module).__module__.partition(".")[0] == "torchxrayvision":
        channels += 'Write input = {convention = "torchxrayvision"} under [[models]]. '
    elif channels:
        channels += (
            f"For pictures of {expected} bands write [models.input] with bands (such as "
            f"{list(range(1, min(expected, 13) + 1))}), scale and size. "
        )
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return StudyError(
        f"the network fails on the picture that its transform gives, {shape}: {line[:300]} "
        f"{channels}Let the transform give (channels, height, width) as the network takes them."
    )


def _compare(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, base: _FirstPass
) -> list[str]:
    """Paths of layers whose output differs from the first pass, in the order in which they ran."""
    differing: list[str] = []
    tolerance = _EXACT if pixels.device.type == "cpu" else _NEARLY

    def read(path: str, values: Tensor) -> None:
        if path in differing:
            differing.remove(path)
        if _relative_difference(values, base.values.get(path)) > tolerance:
            differing.append(path)

    with _hooked(module, read):
        run(pixels)
    return differing


def _relative_difference(values: Tensor, before: Tensor | None) -> float:
    """The largest difference as a share of the largest value; NaN is equal to NaN."""
    if before is None or values.shape != before.shape:
        return float("inf")
    if values.dtype == before.dtype and torch.equal(
        values, before
    ):  # most often; False where there is NaN
        return 0.0
    if not values.is_floating_point():
        return float("inf")
    now, then = values.float(), before.float()
    if not torch.equal(now.isfinite(), then.isfinite()):
        return float("inf")
    now, then = now.nan_to_num(0, 0, 0), then.nan_to_num(0, 0, 0)
    scale = float(then.abs().max())
    return float((now - then).abs().max()) / max(scale, 1e-30)


def _check_repeats(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, base: _FirstPass
) -> None:
    state = torch.get_rng_state()
    differing = _compare(module, run, pixels, base)
    is_random = not torch.equal(state, torch.get_rng_state())
    for _ in range(_MORE_PASSES if is_random and not differing else 0):
        differing = differing or _compare(module, run, pixels, base)
    if differing:
        raise _random_network(module, run, pixels, differing)


def _refuse_random(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, differing: Sequence[str]
) -> None:
    """Raise the error of a random network if one draws random numbers: they may seldom show."""
    if _random_layers(module, run, pixels):
        raise _random_network(module, run, pixels, differing)


def _random_network(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, differing: Sequence[str]
) -> StudyError:
    cause, remedy = _cause(module, _random_layers(module, run, pixels))
    return StudyError(
        f"the network gives other activations for the same picture each time, first in "
        f"{_layer(module, differing[0])}, so no label could be made again. {cause} {remedy}"
    )


def _layer(module: nn.Module, path: str) -> str:
    """A layer in words."""
    kind = type(module.get_submodule(path)).__name__
    return f"layer {path!r} ({kind})" if path else f"its output ({kind})"


def _cause(module: nn.Module, drawn: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The most likely cause of random activations, and what to do."""
    config = getattr(module, "config", None)
    class_names = " ".join(type(submodule).__name__ for submodule in module.modules())
    masks = getattr(config, "mask_ratio", None) or getattr(module, "mask_ratio", None)
    if masks or "MAE" in class_names or "Masked" in class_names:
        return (
            "It hides patches at random, as masked autoencoders do in training"
            f"{f' (mask_ratio = {masks})' if masks else ''}.",
            "Let the factory return the encoder alone, or set its mask ratio to 0.",
        )
    training = [path for path, submodule in module.named_modules() if submodule.training and path]
    dropout = [p for p in training if "Drop" in type(module.get_submodule(p)).__name__]
    if dropout or training:
        culprit = (dropout or training)[0]
        return (
            f"Layer {culprit!r} ({type(module.get_submodule(culprit)).__name__}) is in training "
            "mode, although the network was set to eval().",
            "Let its `train()` pass the mode on to all modules.",
        )
    if drawn:
        path, operation = drawn[0]
        kind = "dropout" if "dropout" in operation else "a random number"
        where = f"layer {path!r}" if path else "the network itself"
        return (
            f"In {where}, {kind} ({operation}) is drawn although it is in eval mode.",
            "Let it depend on `self.training`: F.dropout(x, p, training=self.training).",
        )
    return "It may draw random numbers, or keep something from pass to pass.", "Look for that."


class _RandomOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down which operations draw random numbers, and in which layer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside: list[str] = [""]
        self.found: list[tuple[str, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()) and _draws(func, args):
            self.found.append((self.inside[-1], str(func).removesuffix(".default")))
        return func(*args, **(kwargs or {}))


def _draws(func: Any, args: Any) -> bool:
    """Whether an operation that may draw random numbers does: dropout only in training."""
    name = str(func)
    if "dropout" in name:
        return len(args) < 3 or bool(args[2])
    return "scaled_dot_product" not in name


def _random_layers(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor
) -> list[tuple[str, str]]:
    recorder = _RandomOperations()

    def enter(path: str) -> Callable[..., None]:
        return lambda *_: recorder.inside.append(path)

    def leave(*_: object) -> None:
        recorder.inside.pop()

    handles = [
        child.register_forward_pre_hook(enter(path)) for path, child in module.named_modules()
    ]
    handles += [child.register_forward_hook(leave) for child in module.modules()]
    try:
        with recorder:
            run(pixels)
    except REFUSALS:
        return []
    finally:
        for handle in handles:
            handle.remove()
    return recorder.found


def _paired_shapes(
    module: nn.Module,
    run: Callable[[Tensor], object],
    pixels: Tensor,
    second: Tensor,
    base: _FirstPass,
) -> dict[str, tuple[int, ...]]:
    """Shapes for two pictures at once; nothing where the network takes only one."""
    shapes: dict[str, tuple[int, ...]] = {}
    distances: dict[str, float] = {}
    tolerance = _ALONE if pixels.device.type == "cpu" else _ALONE_NEARLY

    def read(path: str, values: Tensor) -> None:
        shapes[path] = tuple(values.shape)
        single = base.values.get(path)
        axis = (
            _batch_axis(tuple(single.shape), shapes[path], paired=True)
            if single is not None
            else None
        )
        distances.pop(path, None)
        if single is not None and axis is not None and values.is_floating_point():
            distances[path] = _relative_difference(values.narrow(axis, 0, 1), single)

    try:
        with _hooked(module, read):
            run(torch.cat([pixels, second]))
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        return {}
    differing = [path for path, distance in distances.items() if distance > tolerance]
    if differing:
        _refuse_random(module, run, pixels, differing)
        raise StudyError(
            f"{_layer(module, differing[0])} gives other "
            "activations for a picture when another is in its batch, so they would depend on the "
            "company. Let the network normalise with stored means (eval mode), or each picture by "
            "itself."
        )
    return shapes


def _batch_axis(
    shape: tuple[int, ...], pair: tuple[int, ...] | None, *, paired: bool
) -> int | None:
    """The axis that has one entry for each picture: 1 for one, 2 for two."""
    if not paired:
        return 0 if shape and shape[0] == 1 else None
    if pair is None or len(pair) != len(shape):
        return None
    differing = [
        axis
        for axis, (single, double) in enumerate(zip(shape, pair, strict=True))
        if single != double
    ]
    if len(differing) != 1 or (shape[differing[0]], pair[differing[0]]) != (1, 2):
        return None
    return differing[0]


def _move_patch(
    module: nn.Module,
    run: Callable[[Tensor], object],
    pixels: Tensor,
    base: _FirstPass,
    layers: Mapping[str, LayerOutput],
) -> None:
    """How each layer changes when a patch of strong contrast is laid on nine places."""
    collected: dict[str, dict[tuple[int, ...], list[Change]]] = {}
    current: dict[str, dict[tuple[int, ...], Change]] = {}
    modules = dict(module.named_modules())

    def read(path: str, values: Tensor) -> None:
        output = layers.get(path)
        if output is None or output.batch is None or not output.floating:
            return
        if len(output.shape) not in (3, 4) or values.shape != base.values[path].shape:
            return
        change = (values - base.values[path]).abs().float().squeeze(output.batch)
        axes = range(change.ndim)
        # Where only the last axis is known by a width, places may lie on it all the same.
        channels_first = change.ndim == 3 and channel_axis(modules[path], output.shape) == 1
        channel = 1 - (output.batch < 1) if channels_first else None
        axis_groups = [
            tuple(a for a in axes if a != summed) for summed in axes if channel in (None, summed)
        ]
        current[path] = {
            kept_axes: change.sum(dim=next(a for a in axes if a not in kept_axes)).cpu().numpy()
            for kept_axes in axis_groups
        }

    for rows, columns in boxes(*pixels.shape[2:]):
        current.clear()
        with _hooked(module, read):
            run(_patched(pixels, rows, columns))
        for path, parts in current.items():
            for kept_axes, change in parts.items():
                collected.setdefault(path, defaultdict(list))[kept_axes].append(change)
    for path, lists in collected.items():
        layers[path].change = {
            axes: np.stack(changes) for axes, changes in lists.items() if len(changes) == 9
        }


def _patched(pixels: Tensor, rows: slice, columns: slice) -> Tensor:
    """The picture with a bright, rough patch: between its middle and its largest value."""
    patched = pixels.clone()
    low = pixels.amin(dim=(2, 3), keepdim=True)
    high = pixels.amax(dim=(2, 3), keepdim=True)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    noise = np.random.default_rng(3).random((pixels.shape[1], height, width), dtype=np.float32)
    brightness = 0.4 + 0.6 * torch.from_numpy(noise).to(pixels.device)
    patched[:, :, rows, columns] = low + (high - low) * brightness
    return patched


def _check_memory(
    module: nn.Module, run: Callable[[Tensor], object], pixels: Tensor, base: _FirstPass
) -> None:
    differing = _compare(module, run, pixels, base)
    if differing:
        _refuse_random(module, run, pixels, differing)
        raise StudyError(
            f"{_layer(module, differing[0])} gives other "
            "activations for a picture after other pictures have passed: the network keeps "
            "something from pass to pass, so its activations would depend on their order. Let it "
            "keep nothing in eval mode."
        )


def _other_size(
    module: nn.Module,
    run: Callable[[Tensor], object],
    pixels: Tensor,
    base: _FirstPass,
    layers: Mapping[str, LayerOutput],
) -> bool:
    """Shapes for a picture of another size, as far as it gets; whether that left traces."""
    height, width = other_size(int(pixels.shape[2]), int(pixels.shape[3]))

    def read(path: str, values: Tensor) -> None:
        if path in layers:
            layers[path].larger = tuple(values.shape)

    larger = nn.functional.interpolate(pixels, (height, width), mode="bilinear")
    try:
        with _hooked(module, read):
            run(larger)
    except REFUSALS:
        for output in layers.values():
            output.larger = None
    try:
        return bool(_compare(module, run, pixels, base))
    except REFUSALS:
        return True


def other_size(height: int, width: int) -> tuple[int, int]:
    """Another size and another shape of picture: higher, and less wide."""
    steps = [32 if side >= 128 else max(1, side // 4) for side in (height, width)]
    return height + 2 * steps[0], max(steps[1], width - steps[1])


@contextmanager
def _random_state_restored() -> Iterator[None]:
    """Within the block random numbers may be drawn; afterwards they go on as before."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
