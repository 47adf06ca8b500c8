"""Target networks: the networks to be described, their layers, activations and maps.

`resources.targets.sources` says where a network comes from. What is learned from loading one, its
fingerprint and its layers, is kept as a card, so that a later run need not load it to know.
"""

import math
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dagster import ConfigurableResource, ResourceDependency
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import PrivateAttr

from dnd_assets.errors import DndError, StudyError, nearest, not_found
from dnd_assets.files.atomic import write_atomic
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.fingerprint import Json, canonical, digest, source_version
from dnd_assets.methods.layer_axes import Layout, check_shape
from dnd_assets.methods.moving_patch import Verdict
from resources.checkpoints import split_revision
from resources.model import ModelPart
from resources.own_code.notes import check_repeatable, read_note, write_note
from resources.own_code.places import plain_name
from resources.runtime.compute import Compute, load_once
from resources.runtime.model_cache import forget, rename_loaded
from resources.runtime.progress import Progress
from resources.targets.cards import Card, LastLinear, LayerInfo
from resources.targets.network import Network, Source
from resources.targets.passes import Read, captured
from resources.targets.pixels import check_range, check_repeats, survey_picture
from resources.targets.sources import TargetModel, find_source, in_float32, source_part
from resources.targets.state_hash import behaviour_hash, state_hash

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resources.targets.layer_layout import Found
    from resources.targets.seen import Survey

Array = NDArray[np.float32]
Neuron = tuple[str, int]
"""A layer's path and a neuron's index."""
_READING = ("activations", "maps", "layer_maps", "outputs")
"""Methods whose code decides what is read from a network."""
_SURVEYED = (
    __name__,
    "resources.targets.cards",
    "resources.targets.passes",
    "resources.targets.pixels",
    "resources.targets.survey",
    "resources.targets.seen",
    "resources.targets.layer_types",
    "resources.targets.layer_layout",
    "resources.targets.layer_shapes",
    "resources.targets.layer_declared",
    "dnd_assets.methods.layer_axes",
    "dnd_assets.methods.moving_patch",
)
"""Modules whose code decides what a card says."""
_CHANNELS_LAST = ("torchvision", "timm", "efficientnet-lite")


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
    _given: dict[str, str] = PrivateAttr(default_factory=dict)

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
            NotFoundError: when there is no such model or layer; names the nearest. A name that no
                module has is refused before any pass of a network that was never looked at.
        """
        return self.described(model, [layer])[layer]

    def described(self, model: str, layers: Collection[str]) -> dict[str, LayerInfo]:
        """The descriptions of some layers by path; see `check`."""
        infos = {info.path: info for info in self._card(model, layers).layers}
        for layer in layers:
            if layer not in infos:
                useful = [path for path, info in infos.items() if info.units is not None]
                raise _no_layer(model, layer, useful)
        return {layer: infos[layer] for layer in layers}

    def units(self, model: str, layer: str) -> int:
        """How many neurons a layer has.

        Raises:
            NotFoundError: when there is no such layer.
            StudyError: when its output has no neurons, or it does not run in a forward pass.
        """
        info = self.check(model, layer)
        if info.units is None:
            near = [i.path for i in self.layers(model) if i.units is not None]
            why = f" ({info.reason})" if info.reason else ""
            raise StudyError(
                f"layer {layer!r} of {model!r} gives no tensor of neurons for a picture{why}; "
                f"nearest that does: {', '.join(nearest(layer, near))}. Choose one of them."
            )
        return info.units

    def layout(self, model: str, layer: str) -> dict[str, Json]:
        """How a layer's output is read, as plain values, for fingerprints.

        Raises:
            NotFoundError: when there is no such layer.
            StudyError: when it has no units.
        """
        self.units(model, layer)
        return self._layout(model, layer).as_json()

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

        counts = {path: self.units(model, path) for path in layers}

        def reader(path: str, how: str) -> Read:
            info, layout = self.check(model, path), self._layout(model, path)
            has_class = layout.class_token or (info.known == "declared" and how == "class_token")

            def read(out: "Tensor") -> Any:
                # In float32 first: the mean of a map would be rounded to 16 bits otherwise.
                values = layout.arranged(out.float())
                return stabilise(pool(values, how, layout.prefix_tokens, has_class)).cpu().numpy()

            return self._compared(model, info, read)

        readers = {path: reader(path, how) for path, how in layers.items()}
        rows = self._run(model, readers, images, batch_size, progress)
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
        wanted = {path: sorted({n for p, n in units if p == path}) for path, _ in units}
        self._check_neurons(model, wanted)
        readers = {
            path: self._map_reader(model, path, neurons)
            for path, neurons in wanted.items()
            if self.check(model, path).has_map
        }
        found: dict[Neuron, list[Array | None]] = {unit: [None] * len(images) for unit in units}
        if not readers:
            return found
        rows = self._run(model, readers, images, batch_size, progress)
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
        self._check_neurons(model, layers)
        readers = {p: self._map_reader(model, p, neurons) for p, neurons in layers.items()}
        rows = self._run(model, readers, images, batch_size, None)
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
            images, run, batch_size, prepare=self._pixels(model), pad=True, exact=True
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

    def doubts(self, model: str, layers: Collection[str]) -> list[str]:
        """What nothing proves of how some layers are read, one sentence each.

        Raises:
            NotFoundError: when there is no such model or layer.
            StudyError: when the network cannot be loaded.
        """
        infos = self.described(model, layers).values()
        return [info.doubt for info in infos if info.doubt]

    def every_assumption(self) -> list[tuple[str, str]]:
        """The assumptions of all networks by name, without those that cannot be found."""
        told = []
        for one in self.models:
            with suppress(DndError):
                told += [(one.name, text) for text in self.assumptions(one.name)]
        return told

    def fingerprint(self, model: str) -> dict[str, Json]:
        """Everything about a network that may change an activation; its place on disk does not."""
        found = self._card(model).fingerprint
        self._given[model] = digest(found)
        return found

    def told(self, model: str) -> str:
        """What was done to the weights of a file before they were put in; empty for nothing."""
        return self._card(model).told

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
        prepare = self._pixels(model)
        pixels = torch.stack([prepare(image) for image in images])
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
        """The network, which is the one that its fingerprint was made from.

        Raises:
            StudyError: when it is another one than was met before, or than a result is made for.
        """
        card = self._card(model)
        net = self._load(model, find_source(self._spec(model), self.base))
        found = {"weights": net.weights, "behaviour": net.behaviour}
        known = {name: card.fingerprint.get(name, "") for name in found}
        other = [name for name in found if found[name] != known[name]]
        if other or self._given.get(model, digest(card.fingerprint)) != digest(card.fingerprint):
            raise _another_network(model, other)
        return net

    def _channels_last(self, spec: TargetModel) -> bool:
        """Networks of well-kept libraries bear channels-last memory; others may call `view`."""
        return self.compute.channels_last and spec.source.partition(":")[0] in _CHANNELS_LAST

    def _load(self, model: str, source: Source) -> Network:
        import torch

        spec = self._spec(model)
        device, last = self.compute.torch_device(), self._channels_last(spec)

        def load() -> Network:
            net = source.build()
            net.weights = state_hash(net.module)
            net.behaviour = behaviour_hash(net.module) if source.own else ""
            net.module.to(device).eval().requires_grad_(requires_grad=False)
            net = in_float32(net, _blank(net).to(device))
            if last:
                net.module.to(memory_format=torch.channels_last)
            return net

        return load_once(self._key(spec, source), load)

    def _key(self, spec: TargetModel, source: Source) -> Hashable:
        """What a loaded network is known by in this process."""
        own = source.own and digest(source.own.version(read_note(self.cards, source)))
        key = (spec.source, spec.weights, spec.weights_key, self.base, source.content, own)
        return "target", *key, str(self.compute.torch_device()), self._channels_last(spec)

    def _card(self, model: str, wanted: Collection[str] = ()) -> Card:
        """What is known of a network; it is loaded only when nobody has met it before.

        Args:
            model: name in the study.
            wanted: paths of layers. Where the network has to be looked at first, and has no module
                of such a name, that is said before.
        """
        spec = self._spec(model)
        source = find_source(spec, self.base)

        def learn() -> Card:
            card = self._kept(self._name(spec, source))
            if card is None:
                net = self._load(model, source)
                _check_paths(model, net, wanted)
                if source.own is not None:
                    self._note(spec, source, net)
                card = self._survey(model, source)
                if self.cards and not self.reading:
                    file = Path(self.cards) / f"{self._name(spec, source)}.json"
                    write_atomic(file, canonical(card.as_json()).encode())
            return load_once(("card", self._name(spec, source)), lambda: card)

        return load_once(("card", self._name(spec, source)), learn)

    def _note(self, spec: TargetModel, source: Source, net: Network) -> None:
        """Keep what a network's own code was seen to use, which is part of what it is known by."""
        if spec.weights is None:
            check_repeatable(net, source)
        before = self._key(spec, source)
        if not self.reading:
            write_note(self.cards, source, net.seen)
        rename_loaded(before, self._key(spec, source))

    def _kept(self, name: str) -> Card | None:
        return Card.read(Path(self.cards) / f"{name}.json") if self.cards else None

    def _name(self, spec: TargetModel, source: Source) -> str:
        """What a network's card is known by: the network, and what the study says of its layers."""
        said = sorted((one.model_dump() for one in spec.layouts), key=canonical)
        identity = self._identity(spec, source)
        return digest([identity, said]) if said else digest(identity)

    def _identity(self, spec: TargetModel, source: Source) -> dict[str, Json]:
        """What a network is known by without loading it."""
        kind, _, rest = spec.source.partition(":")
        own = source.own and source.own.version(read_note(self.cards, source))
        return {
            "source": kind if kind == "hf" else f"{kind}:{_unpinned(kind, rest)}",
            "files": source.content,
            "code": [method_version(type(self), *_READING), *_survey_code()],
            **self.compute.fingerprint(),
            "dtype": self.compute.mixed,
            **{name: version(name) for name in sorted({"torch", "torchvision", source.library})},
            **({"own": own} if own else {}),
        }

    def _check_neurons(self, model: str, wanted: Mapping[str, Sequence[int]]) -> None:
        for path, neurons in wanted.items():
            count = self.units(model, path)
            for neuron in (n for n in neurons if not 0 <= n < count):
                choices = [f"{path}/{n}" for n in range(count)]
                raise not_found(f"neuron of {model!r}", f"{path}/{neuron}", choices)

    def _layout(self, model: str, path: str) -> Layout:
        layout = self.check(model, path).layout
        assert layout is not None, "only layers with units are read"
        return layout

    def _compared(self, model: str, info: LayerInfo, read: Read) -> Read:
        """A reader that first compares what comes out with what the survey saw."""
        layout, raw = self._layout(model, info.path), info.raw or ()

        def compared(output: "Tensor") -> Any:
            where = f"layer {info.path!r} of {model!r}"
            check_shape(where, tuple(output.shape), raw, layout.axes)
            return read(output)

        return compared

    def _map_reader(self, model: str, path: str, neurons: Sequence[int]) -> Read:
        from dnd_assets.methods.pooling import spatial_maps, stabilise

        info, layout = self.check(model, path), self._layout(model, path)

        def read(output: "Tensor") -> Any:
            maps = spatial_maps(layout.arranged(output), layout.prefix_tokens, layout.grid)
            assert maps is not None, "only layers with maps are read"
            return stabilise(maps[:, list(neurons)]).cpu().numpy()

        return self._compared(model, info, read)

    def _pixels(self, model: str) -> Callable[[Image], "Tensor"]:
        """Makes a picture ready for the network, and refuses one of another size."""
        net, expected = self._network(model), tuple(self._card(model).pixels)

        def prepare(image: Image) -> "Tensor":
            found = net.pixels(image)
            if tuple(found.shape) != expected:
                raise StudyError(
                    f"the transform of {model!r} gives {tuple(found.shape)} for a picture of "
                    f"{image.width} x {image.height} pixels, and {expected} for a square one; "
                    "units are compared at one size. Resize to one size in it, such as "
                    "v2.Resize((224, 224)), or cut out one with v2.CenterCrop(224)."
                )
            return found

        return prepare

    def _run(
        self,
        model: str,
        readers: Mapping[str, Read],
        images: Sequence[Image],
        batch_size: int,
        progress: Progress | None,
    ) -> list[dict[str, Any]]:
        """What `readers` make of the layers' outputs, for each picture."""
        import torch

        net = self._network(model)

        def run(batch: Sequence["Tensor"]) -> list[dict[str, Any]]:
            outputs = self._forward(net, torch.stack(list(batch)), readers)
            return [{p: out[i] for p, out in outputs.items()} for i in range(len(batch))]

        return self.compute.in_batches(
            images,
            run,
            batch_size,
            prepare=self._pixels(model),
            pad=True,
            exact=True,
            progress=progress,
        )

    def _forward(
        self, net: Network, pixels: "Tensor", readers: Mapping[str, Read]
    ) -> dict[str, Any]:
        import torch

        pixels = self.compute.place(pixels)
        with (
            torch.inference_mode(),
            self.compute.autocast(),
            captured(net.module, readers) as outputs,
        ):
            net.call(net.module, pixels)
        return outputs

    def _survey(self, model: str, source: Source) -> Card:
        """Look at a network: its weights as loaded, its transform, its layers."""
        from resources.targets.layer_declared import layouts_of

        spec, net = self._spec(model), self._load(model, source)
        with _about(model):
            surveyed = self._looked_at(net)
            if surveyed.spoiled:
                forget(self._key(spec, source))
                net = self._load(model, source)
            found = layouts_of(net.module, surveyed, spec.layouts)
        modules = {path: module for path, module in net.module.named_modules() if path}
        layers = [_info(p, module, found.get(p), surveyed) for p, module in modules.items()]
        identity = self._identity(spec, source)
        known = {name: identity[name] for name in identity if name not in ("files", "code")}
        fingerprint: dict[str, Json] = {
            **known,
            "reading": method_version(type(self), *_READING),
            "weights": net.weights,
            **({"behaviour": net.behaviour} if source.own else {}),
            "transforms": _description(net.transform),
        }
        if getattr(net.module, "transform_input", False):
            fingerprint |= {"transform_input": True}  # no parameter tells it
        return Card(fingerprint, tuple(layers), surveyed.pixels, net.told)

    def _looked_at(self, net: Network) -> "Survey":
        import torch

        from resources.targets.survey import look

        check_repeats(net.transform)
        pictures = [net.pixels(survey_picture(seed)) for seed in (0, 2)]
        if net.own_transform:
            check_range(pictures[0], net.pixel_range)
        pixels, other = (self.compute.place(one[None]) for one in pictures)
        with torch.inference_mode(), self.compute.autocast():
            return look(net.module, lambda given: net.call(net.module, given), pixels, other)


@cache
def _survey_code() -> tuple[str, ...]:
    """Versions of the code that looks at networks; none of it is imported."""
    specs = [find_spec(name) for name in _SURVEYED]
    files = [Path(str(spec.origin)) for spec in specs if spec is not None]
    return tuple(source_version(file.read_text(encoding="utf-8")) for file in files)


@contextmanager
def _about(model: str) -> Iterator[None]:
    """Within the block errors of the study name the network."""
    try:
        yield
    except StudyError as error:
        raise StudyError(f"network {model!r}: {error}") from error


def _check_paths(model: str, net: Network, wanted: Collection[str]) -> None:
    """Refuse layers that no module of a network is named as."""
    paths = [path for path, _ in net.module.named_modules() if path]
    for layer in wanted:
        if layer not in paths:
            raise _no_layer(model, layer, paths)


def _no_layer(model: str, layer: str, paths: Sequence[str]) -> DndError:
    advice = f"`dnd layers {model}` lists them."
    return not_found(f"layer of {model!r}", layer, paths, advice)


def _unpinned(kind: str, rest: str) -> str:
    """A source without its revision: the bytes count, not the commit they came from."""
    return split_revision(rest)[0] if kind == "timm" else rest


def _blank(net: Network) -> "Tensor":
    """A grey picture as the network takes it, (1, 3, H, W)."""
    import PIL.Image

    return net.pixels(PIL.Image.new("RGB", (256, 256), (128, 128, 128)))[None]


def _info(path: str, module: "nn.Module", found: "Found | None", surveyed: "Survey") -> LayerInfo:
    kind = type(module).__name__
    if found is None:
        return LayerInfo(path, kind, None, None, reason="gives no tensor, or does not run")
    raw = surveyed.seen[path].shape
    layout = found.layout
    if layout is None:
        return LayerInfo(path, kind, None, raw[1:] or None, reason=found.reason, raw=raw)
    shape = layout.arranged_shape(raw)
    has_map = layout.places and (layout.kind == "tokens" or math.prod(shape[1:]) > 1)
    reason = "" if has_map else found.reason
    alone = math.prod(shape[1:] if layout.kind == "maps" else shape[:-1]) <= 1
    proven = alone or found.verdict is Verdict.PROVEN
    return LayerInfo(
        path, kind, layout.units(raw), shape, has_map, found.known, reason, layout, raw, proven
    )


def _another_network(model: str, other: Sequence[str]) -> StudyError:
    what = f" (its {' and its '.join(other)} differ)" if other else " (its files or code changed)"
    return StudyError(
        f"network {model!r} is not the one that its results are made for{what}, so nothing of it "
        "is kept. Where you have just changed it, run again; where you have not, its factory gives "
        "another network each time: seed it, or save its state_dict() and name it in `weights`."
    )


def _description(transform: Any) -> str:
    """A transform in words, without addresses in memory."""
    config = getattr(transform, "config", None)
    told = str(config if config is not None else transform)
    return plain_name(re.sub(r" at 0x[0-9a-fA-F]+", "", told))
