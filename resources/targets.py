"""Target networks: the networks to be described, their layers, activations and maps.

`resources.networks` says where a network comes from. What is learned from loading one, its
fingerprint and its layers, is kept as a card, so that a later run need not load it to know.
"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dagster import ConfigurableResource, ResourceDependency
from numpy.typing import NDArray
from PIL.Image import Image

from dnd_assets.errors import DndError, StudyError, nearest, not_found
from dnd_assets.files import write_atomic
from dnd_assets.lineage.fingerprint import Json, canonical, code_version, digest
from resources import networks, published
from resources.checkpoints import split_revision
from resources.compute import Compute, load_once
from resources.model import ModelPart
from resources.networks import Network, Source, TargetModel, find_source, source_part
from resources.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    Read = Callable[["Tensor"], Any]

Array = NDArray[np.float32]
Neuron = tuple[str, int]
"""A layer's path and a neuron's index."""
_CHANNELS_LAST = ("torchvision", "timm", "efficientnet-lite")


@dataclass(frozen=True)
class LayerInfo:
    """One module of a network, as seen by a forward pass of one picture.

    Attributes:
        path: name in `named_modules()`.
        kind: class of the module.
        units: number of neurons; None where the output has none, or the module did not run.
        shape: of the output for one picture, channels first; None if there is no such output.
        has_map: whether activations have a place in the picture, so that crops can be made.
    """

    path: str
    kind: str
    units: int | None
    shape: tuple[int, ...] | None
    has_map: bool = False


@dataclass(frozen=True)
class LastLinear:
    """The last linear layer of a network.

    Attributes:
        path: name in `named_modules()`.
        weight: float32 (outputs, inputs).
        inputs: what it was given for some pictures, float32 (N, inputs).
    """

    path: str
    weight: Array
    inputs: Array


@dataclass(frozen=True)
class Card:
    """What one loading of a network taught about it.

    Attributes:
        fingerprint: everything about it that may change an activation.
        layers: its modules, as a forward pass shows them.
    """

    fingerprint: dict[str, Json]
    layers: tuple[LayerInfo, ...]

    @classmethod
    def read(cls, file: Path) -> "Card | None":
        """The card in a file; None when there is none or it cannot be read."""
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
            layers = (
                {**one, "shape": None if one["shape"] is None else tuple(one["shape"])}
                for one in table["layers"]
            )
            return cls(table["fingerprint"], tuple(LayerInfo(**one) for one in layers))
        except (OSError, ValueError, KeyError, TypeError):
            return None


class TargetNetworks(ConfigurableResource):  # type: ignore[type-arg]
    """The networks of a study, loaded when first used.

    Attributes:
        models: name, source and weights of each network.
        base: folder that relative paths start from.
        cards: folder that keeps what was learned of each network; None keeps it in memory.
        reading: whether that folder is only read.
        compute: device and precision. Below float32 networks run under autocast.
    """

    models: list[TargetModel]
    base: str | None = None
    cards: str | None = None
    reading: bool = False
    compute: ResourceDependency[Compute]

    def layers(self, model: str) -> list[LayerInfo]:
        """Every module of a network with its number of units, from one pass of a blank picture.

        Raises:
            NotFoundError: when the study has no such model.
            StudyError: when the network cannot be loaded.
        """
        return list(self._card(model).layers)

    def check(self, model: str, layer: str) -> LayerInfo:
        """The layer's description.

        Raises:
            NotFoundError: when there is no such model or layer; names the nearest.
        """
        infos = {info.path: info for info in self.layers(model)}
        if layer not in infos:
            useful = [path for path, info in infos.items() if info.units is not None]
            raise not_found(
                f"layer of {model!r}", layer, useful, f"`dnd layers {model}` lists them."
            )
        return infos[layer]

    def units(self, model: str, layer: str) -> int:
        """How many neurons a layer has.

        Raises:
            NotFoundError: when there is no such layer.
            StudyError: when its output has no neurons, or it does not run in a forward pass.
        """
        found = self.check(model, layer).units
        if found is None:
            near = [i.path for i in self.layers(model) if i.units is not None]
            raise StudyError(
                f"layer {layer!r} of {model!r} gives no tensor of neurons for a picture; nearest "
                f"that does: {', '.join(nearest(layer, near))}. Choose one of them."
            )
        return found

    def activations(
        self,
        model: str,
        layers: Mapping[str, str],
        images: Sequence[Image],
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> dict[str, Array]:
        """Pooled activations of all units of some layers, in one pass of each picture.

        Args:
            model: name in the study.
            layers: pooling by layer path; see `dnd_assets.methods.pooling.pool`.
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.
            progress: counts finished pictures.

        Returns:
            For each layer float32 (N, units), rounded so that the batch does not show. NaN and
            infinities of the network stay.
        """
        from dnd_assets.methods.pooling import pool, stabilise

        net = self._network(model)
        counts = {path: self.units(model, path) for path in layers}

        def reader(how: str) -> "Read":
            def read(out: "Tensor") -> Any:
                # In float32 first: the mean of a map would be rounded to 16 bits otherwise.
                pooled = pool(out.float(), _pooling(how, out, net), _prefix(out, net))
                return stabilise(pooled).cpu().numpy()

            return read

        rows = self._run(
            net, {p: reader(how) for p, how in layers.items()}, images, batch_size, progress
        )
        empty = {path: np.zeros((0, count), np.float32) for path, count in counts.items()}
        return {p: np.stack([row[p] for row in rows]) if rows else empty[p] for p in layers}

    def maps(
        self,
        model: str,
        units: Sequence[Neuron],
        images: Sequence[Image],
        batch_size: int = 16,
        only: Sequence[Collection[Neuron]] | None = None,
        progress: Progress | None = None,
    ) -> dict[Neuron, list[Array | None]]:
        """Activation maps of some units.

        Args:
            model: name in the study.
            units: layer path and neuron of each unit.
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.
            only: for each picture the units whose maps to keep; None keeps all.
            progress: counts finished pictures.

        Returns:
            For each unit and picture a float32 (H, W) map; None for a unit without spatial
            extent, and where `only` leaves the unit out.

        Raises:
            NotFoundError: when a neuron does not exist.
        """
        net = self._network(model)
        wanted = {path: sorted({n for p, n in units if p == path}) for path, _ in units}
        self._check_neurons(model, wanted)
        readers = {
            path: _map_reader(neurons, net)
            for path, neurons in wanted.items()
            if self.check(model, path).has_map
        }
        found: dict[Neuron, list[Array | None]] = {unit: [None] * len(images) for unit in units}
        if not readers:
            return found
        rows = self._run(net, readers, images, batch_size, progress)
        for index, row in enumerate(rows):
            kept = found if only is None else [unit for unit in only[index] if unit in found]
            for path, neuron in kept:
                if path in row:
                    at = wanted[path].index(neuron)
                    found[path, neuron][index] = row[path][at].copy()
        return found

    def layer_maps(
        self,
        model: str,
        layers: Mapping[str, Sequence[int]],
        images: Sequence[Image],
        batch_size: int = 16,
    ) -> dict[str, list[Array]]:
        """Activation maps of many units of some layers, in one pass of each picture.

        Args:
            model: name in the study.
            layers: neurons by layer path, distinct; the layers have maps.
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.

        Returns:
            For each layer and picture float32 (neurons, H, W), in the order of the neurons,
            rounded so that the batch does not show.

        Raises:
            NotFoundError: when a neuron does not exist.
        """
        net = self._network(model)
        self._check_neurons(model, layers)
        readers = {path: _map_reader(neurons, net) for path, neurons in layers.items()}
        rows = self._run(net, readers, images, batch_size, None)
        return {path: [row[path] for row in rows] for path in layers}

    def outputs(self, model: str, images: Sequence[Image], batch_size: int = 64) -> Array:
        """What a network itself returns: the scores of a classifier's classes.

        Args:
            model: name in the study.
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.

        Returns:
            float32 (N, classes), rounded so that the batch does not show.

        Raises:
            StudyError: when it returns no such table, or scores that are not finite.
        """
        import torch

        from dnd_assets.methods.pooling import stabilise

        net = self._network(model)

        def run(batch: Sequence["Tensor"]) -> list[Array]:
            pixels = self.compute.place(torch.stack(list(batch)))
            with torch.inference_mode(), self.compute.autocast():
                found = net.call(net.module, pixels)
            scores = getattr(found, "logits", found)
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
                raise StudyError(f"{model!r} returns no scores of classes, (pictures, classes).")
            if not torch.isfinite(scores).all():
                raise StudyError(f"{model!r} returns scores that are NaN or infinite.")
            return list(stabilise(scores.float()).cpu().numpy())

        rows = self.compute.in_batches(
            images, run, batch_size, prepare=net.pixels, pad=True, exact=True
        )
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def parts(self) -> list[ModelPart]:
        """What each network is loaded from, in the order of `models`."""
        return [replace(source_part(one, self.base), role=one.name) for one in self.models]

    def assumptions(self, model: str) -> list[str]:
        """What the results of a network rest on that neither its files nor the study say.

        Raises:
            NotFoundError: when the study has no such model.
            StudyError: when its source or its files are wrong or not on this machine.
        """
        return list(find_source(self._spec(model), self.base).assumed())

    def every_assumption(self) -> list[tuple[str, str]]:
        """The assumptions of all networks by name, without those that cannot be found."""
        told = []
        for one in self.models:
            with suppress(DndError):
                told += [(one.name, text) for text in self.assumptions(one.name)]
        return told

    def fingerprint(self, model: str) -> dict[str, Json]:
        """Everything about a network that may change an activation; its place on disk does not."""
        return self._card(model).fingerprint

    def categories(self, model: str) -> list[str] | None:
        """Names of the outputs of the last layer, in order; None if they are not known."""
        return self._network(model).categories

    def final_layers(self, model: str) -> list[str]:
        """Paths of the layers whose output is the network's own, for a blank picture.

        Besides the last layer these are the modules around it.
        """
        import torch

        def look() -> list[str]:
            net = self._network(model)
            paths = [info.path for info in self.layers(model) if info.units is not None]
            found = self._forward(net, _blank(net), dict.fromkeys(["", *paths], lambda out: out))
            return [p for p in paths if p in found and torch.equal(found[p], found[""])]

        return load_once(("final layers", digest(self.fingerprint(model))), look)

    def last_linear(self, model: str, images: Sequence[Image]) -> LastLinear:
        """The last linear layer that runs in a forward pass, and what it is given.

        Args:
            model: name in the study.
            images: some pictures, at least one.

        Raises:
            StudyError: when the network has no linear layer of vectors.
        """
        import torch
        from torch import nn

        net = self._network(model)
        seen: dict[str, torch.Tensor] = {}

        def keep(path: str) -> Callable[[Any, Any, Any], None]:
            def hook(_module: Any, inputs: Any, _output: Any) -> None:
                seen.pop(path, None)  # the last to run comes last
                seen[path] = inputs[0]

            return hook

        linear = {p: m for p, m in net.module.named_modules() if isinstance(m, nn.Linear)}
        handles = [module.register_forward_hook(keep(path)) for path, module in linear.items()]
        pixels = torch.stack([net.pixels(image) for image in images])
        try:
            self._forward(net, pixels, {})
        finally:
            for handle in handles:
                handle.remove()
        path = next((p for p in reversed(seen) if seen[p].ndim == 2), None)
        if path is None:
            raise StudyError(
                f"network {model!r} has no linear layer of vectors, whose weights would say what "
                "a unit adds to a class. Choose a classifier that ends in nn.Linear."
            )
        weight = linear[path].weight.float().cpu().numpy()
        return LastLinear(path, weight, seen[path].float().cpu().numpy())

    def transforms(self, model: str) -> Callable[[Image], "Tensor"]:
        """The preprocessing: a picture (RGB) to a float tensor (3, H, W)."""
        return self._network(model).transform

    def _spec(self, model: str) -> TargetModel:
        for spec in self.models:
            if spec.name == model:
                return spec
        raise not_found("model", model, [spec.name for spec in self.models])

    def _network(self, model: str) -> Network:
        return self._load(model, find_source(self._spec(model), self.base))

    def _channels_last(self, spec: TargetModel) -> bool:
        """Networks of well-kept libraries bear channels-last memory; others may call `view`."""
        return self.compute.channels_last and spec.source.partition(":")[0] in _CHANNELS_LAST

    def _load(self, model: str, source: Source) -> Network:
        import torch

        spec = self._spec(model)
        device, last = self.compute.torch_device(), self._channels_last(spec)

        def load() -> Network:
            net = source.build()
            net.weights = _state_hash(net.module)
            net.module.to(device, torch.float32).eval().requires_grad_(requires_grad=False)
            if last:
                net.module.to(memory_format=torch.channels_last)
            return net

        key = (spec.source, spec.weights, self.base, source.content, str(device), last)
        return load_once(("target", *key), load)

    def _card(self, model: str) -> Card:
        """What is known of a network; it is loaded only when nobody has met it before."""
        spec = self._spec(model)
        source = find_source(spec, self.base)
        kind, _, rest = spec.source.partition(":")
        identity = {
            "source": kind if kind == "hf" else f"{kind}:{_unpinned(kind, rest)}",
            "files": source.content,
            "code": [source.code, code_version(sys.modules[__name__], networks, published)],
            "dtype": self.compute.mixed,
            **{name: version(name) for name in sorted({"torch", "torchvision", source.library})},
        }
        name = digest(identity)

        def learn() -> Card:
            file = Path(self.cards) / f"{name}.json" if self.cards else None
            card = Card.read(file) if file else None
            if card is None:
                card = self._survey(self._load(model, source), identity, source)
                if file and not self.reading:
                    write_atomic(file, canonical(asdict(card)).encode())
            return card

        return load_once(("card", name), learn)

    def _check_neurons(self, model: str, wanted: Mapping[str, Sequence[int]]) -> None:
        for path, neurons in wanted.items():
            count = self.units(model, path)
            for neuron in (n for n in neurons if not 0 <= n < count):
                choices = [f"{path}/{n}" for n in range(count)]
                raise not_found(f"neuron of {model!r}", f"{path}/{neuron}", choices)

    def _run(
        self,
        net: Network,
        readers: Mapping[str, "Read"],
        images: Sequence[Image],
        batch_size: int,
        progress: Progress | None,
    ) -> list[dict[str, Any]]:
        """What `readers` make of the layers' outputs, for each picture."""
        import torch

        def run(batch: Sequence["Tensor"]) -> list[dict[str, Any]]:
            outputs = self._forward(net, torch.stack(list(batch)), readers)
            return [{p: out[i] for p, out in outputs.items()} for i in range(len(batch))]

        return self.compute.in_batches(
            images, run, batch_size, prepare=net.pixels, pad=True, exact=True, progress=progress
        )

    def _forward(
        self, net: Network, pixels: "Tensor", readers: Mapping[str, "Read"]
    ) -> dict[str, Any]:
        import torch

        pixels = self.compute.place(pixels)
        square = pixels.shape[-2] == pixels.shape[-1]
        with (
            torch.inference_mode(),
            self.compute.autocast(),
            captured(net.module, readers, square) as outputs,
        ):
            net.call(net.module, pixels)
        return outputs

    def _survey(self, net: Network, identity: Mapping[str, Json], source: Source) -> Card:
        """Look at a loaded network: its weights as loaded, its transform, its layers."""
        blank = _blank(net)
        modules = {path: module for path, module in net.module.named_modules() if path}
        shapes = self._forward(net, blank, dict.fromkeys(modules, lambda out: out))
        layers = [_info(path, module, shapes.get(path), net) for path, module in modules.items()]
        known = {name: value for name, value in identity.items() if name != "files"}
        fingerprint = {
            **known,
            "code": source.code,
            "weights": net.weights,
            "transforms": _description(net.transform),
        }
        if getattr(net.module, "transform_input", False):
            fingerprint["transform_input"] = True  # no parameter tells it
        return Card(fingerprint, tuple(layers))


def _unpinned(kind: str, rest: str) -> str:
    """A source without its revision: the bytes count, not the commit they came from."""
    return split_revision(rest)[0] if kind == "timm" else rest


def _blank(net: Network) -> "Tensor":
    """A grey picture as the network takes it, (1, 3, H, W)."""
    import PIL.Image

    return net.transform(PIL.Image.new("RGB", (256, 256), (128, 128, 128)))[None]


def _map_reader(neurons: Sequence[int], net: Network) -> "Read":
    from dnd_assets.methods.pooling import spatial_maps, stabilise

    def read(output: "Tensor") -> Any:
        maps = spatial_maps(output, _prefix(output, net))
        assert maps is not None, "only layers with maps are read"
        return stabilise(maps[:, list(neurons)]).cpu().numpy()

    return read


@contextmanager
def captured(
    module: "nn.Module", readers: Mapping[str, "Read"], square: bool = True
) -> Iterator[dict[str, Any]]:
    """Within the block, what `readers` make of layers' outputs collects in the dictionary.

    A reader runs at once, before a later layer can change the tensor in place; of a layer that
    runs more than once, the last output stays. Outputs without a tensor are left out.

    Args:
        module: the network.
        readers: by path in `named_modules()`.
        square: whether the input is square, which shows channels-last maps (B, H, W, C).
    """
    from dnd_assets.methods.pooling import tensor_of

    found: dict[str, Any] = {}
    modules = dict(module.named_modules())

    def hook(path: str) -> Callable[[Any, Any, Any], None]:
        def read(_module: Any, _inputs: Any, output: Any) -> None:
            try:
                values = tensor_of(output)
            except StudyError:
                return
            found[path] = readers[path](_channels_first(values, square))

        return read

    handles = [modules[path].register_forward_hook(hook(path)) for path in readers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _channels_first(values: "Tensor", square: bool) -> "Tensor":
    """Maps as (B, C, H, W); Swin and its kin give (B, H, W, C).

    The maps of a square picture are square, so two equal sides first and another size last can
    only mean channels last.
    """
    if square and values.ndim == 4 and values.shape[1] == values.shape[2] != values.shape[3]:
        return values.permute(0, 3, 1, 2)
    return values


def _info(path: str, module: "nn.Module", output: "Tensor | None", net: Network) -> LayerInfo:
    from dnd_assets.methods.pooling import spatial_maps

    kind = type(module).__name__
    if output is None or not output.is_floating_point() or output.ndim not in (2, 3, 4):
        return LayerInfo(path, kind, None, None)
    shape = tuple(output.shape[1:])
    if output.shape[0] != 1 or 0 in shape:
        return LayerInfo(path, kind, None, shape)
    maps = spatial_maps(output, _prefix(output, net))
    has_map = maps is not None and maps.shape[2] * maps.shape[3] > 1
    units = shape[-1] if len(shape) < 3 else shape[0]
    return LayerInfo(path, kind, units, shape, has_map)


def _pooling(how: str, output: "Tensor", net: Network) -> str:
    """The pooling to use: where registers stand before the patches but no class token, the mean.

    Raises:
        StudyError: when the class token was asked for that is not there.
    """
    if output.ndim != 3 or net.class_token or how not in ("auto", "class_token"):
        return how
    if how == "class_token":
        raise StudyError(
            "pooling 'class_token' was asked for, but this network has registers and no class "
            "token; valid here: auto, token_mean, token_max. Set `pooling` of that layer to one."
        )
    return "token_mean"


def _prefix(output: "Tensor", net: Network) -> int:
    """Tokens before the patches in this output; 0 where patches alone make the square.

    The patch embedding of a transformer comes before its class token joins.
    """
    if output.ndim != 3 or _is_square(output.shape[1] - net.prefix_tokens):
        return net.prefix_tokens
    return 0 if _is_square(output.shape[1]) else net.prefix_tokens


def _is_square(number: int) -> bool:
    return number >= 0 and math.isqrt(number) ** 2 == number


def _state_hash(module: "nn.Module") -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers."""
    import torch

    hashed = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            hashed.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            hashed.update(
                value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
            )
    return hashed.hexdigest()


def _description(transform: Any) -> str:
    """A transform in words, without addresses in memory."""
    config = getattr(transform, "config", None)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(config if config is not None else transform))
