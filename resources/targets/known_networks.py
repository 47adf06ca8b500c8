"""Networks of a study: loaded when needed, surveyed once, described by their cards.

`resources.targets.network_sources` says where a network comes from. What is learned from loading
one, its fingerprint and its layers, is kept as a card, so that a later run need not load it to
know.
"""

import math
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from dnd_assets.errors import DndError, StudyError, nearest, not_found
from dnd_assets.files.atomic import write_atomic
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.fingerprint import Json, canonical, digest, source_version
from dnd_assets.methods.layer_axes import Layout
from dnd_assets.methods.moving_patch import Verdict
from dnd_assets.methods.sae.coded_layout import CodedLayout
from resources.checkpoints import split_revision
from resources.own_code.notes import check_repeatable, read_note, write_note
from resources.own_code.own_places import plain_name
from resources.runtime.compute import Compute, load_once
from resources.runtime.model_cache import forget, rename_loaded
from resources.runtime.resource import Resource
from resources.targets.cards import LayerInfo, NetworkInfo
from resources.targets.codings import Attached, attached, coded, content
from resources.targets.declared_coding import DeclaredCoding
from resources.targets.exact_networks import exact_for
from resources.targets.network import Network, NetworkSource, changed_network
from resources.targets.network_sources import TargetModel, find_source, in_float32
from resources.targets.pixels import check_range, check_repeats
from resources.targets.state_hash import behaviour_hash, state_hash

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resources.targets.layer_layout import KnownLayout
    from resources.targets.seen import Survey

_READING = ("activations", "maps", "layer_maps", "outputs", "unit_vectors")
"""Methods whose code decides what is read from a network."""
_SURVEYED = (
    __name__,
    "resources.targets.networks",
    "resources.targets.cards",
    "resources.targets.passes",
    "resources.targets.pixels",
    "resources.targets.inputs",
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
MEASURED = ("percentiles", "standard")
"""Ways of scaling that are measured over the probing set."""
Measured = Mapping[str, Sequence[tuple[float, float]]]
_CHANNELS_LAST = ("torchvision", "timm", "efficientnet-lite")


class KnownNetworks(Resource):
    """The networks of a study and their layers; `TargetNetworks` reads the layers' activations.

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
    compute: Compute
    _used_fingerprints: dict[str, str] = PrivateAttr(default_factory=dict)
    _measure: Callable[[], Measured] | None = PrivateAttr(default=None)
    _measured: dict[str, TargetModel] = PrivateAttr(default_factory=dict)

    def layers(self, model: str) -> list[LayerInfo]:
        """Every module of a network with its number of units, from one pass of a blank picture.

        Raises:
            NotFoundError: when the study has no such model.
            StudyError: when the network cannot be loaded.
        """
        return [self._read(model, info) for info in self._card(model).layers]

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
        return {layer: self._read(model, infos[layer]) for layer in layers}

    def codings(self, model: str) -> dict[str, Json]:
        """What is attached to its layers, and the hash of its files; empty where nothing is.

        Raises:
            NotFoundError: when there is no such model.
            StudyError: when a file is not there.
        """
        declared = self._spec(model).codings
        digests: dict[str, Json] = {
            coding.path: digest(content(coding, self.base)) for coding in declared
        }
        return {"codings": digests} if digests else {}

    def unit_names(self, model: str, layer: str) -> tuple[str, ...]:
        """Names of a layer's units, where it has directions with names; else none.

        Raises:
            NotFoundError: when there is no such model.
            StudyError: when the directions cannot be read.
        """
        coding = self._coding(model, layer)
        info = next(
            (layer_info for layer_info in self._card(model).layers if layer_info.path == layer),
            None,
        )
        if coding is None or info is None or info.units is None:
            return ()
        return self._attached(coding, info.units).names

    def unit_vectors(self, model: str, layer: str) -> NDArray[np.float32]:
        """Direction of each unit in the layer's space, (units, width): axes of plain neurons.

        Raises:
            NotFoundError: when there is no such layer.
            StudyError: when it has no units, or what is attached to it cannot be read.
        """
        count = self.units(model, layer)
        layout = self._layout(model, layer)
        if not isinstance(layout, CodedLayout) or layout.coding is None:
            return np.eye(count, dtype=np.float32)
        return np.asarray(layout.coding.vectors.cpu().float().numpy())

    def units(self, model: str, layer: str) -> int:
        """How many neurons a layer has.

        Raises:
            NotFoundError: when there is no such layer.
            StudyError: when its output has no neurons, or it does not run in a forward pass.
        """
        info = self.check(model, layer)
        if info.units is None:
            choices = [i.path for i in self.layers(model) if i.units is not None]
            reason = f" ({info.reason})" if info.reason else ""
            raise StudyError(
                f"layer {layer!r} of {model!r} gives no tensor of neurons for a picture{reason}; "
                f"nearest that does: {', '.join(nearest(layer, choices))}. Choose one of them."
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

    def told(self, model: str) -> str:
        """What was done to the weights of a file before they were put in; empty for nothing."""
        return self._card(model).told

    def measured_by(self, measure: Callable[[], Measured]) -> Self:
        """These networks, given a function that measures pixel values where their scaling needs it.

        Args:
            measure: gives, by way of scaling, a pair of values for each band of the files.
        """
        self._measure = measure
        return self

    def takes_bands(self, model: str) -> bool:
        """Whether a network takes bands of files, and no RGB pictures."""
        return bool(self._declared(model).input)

    def _coding(self, model: str, layer: str) -> DeclaredCoding | None:
        """What the study attaches to a layer."""
        return next(
            (coding for coding in self._declared(model).codings if coding.path == layer), None
        )

    def _read(self, model: str, info: LayerInfo) -> LayerInfo:
        """A layer's description; where a coding is attached, that of its latents."""
        coding = self._coding(model, info.path)
        if coding is None or info.units is None:
            return info
        with _naming(model):
            return coded(info, self._attached(coding, info.units), coding)

    def _attached(self, declared: DeclaredCoding, width: int) -> Attached:
        device = self.compute.torch_device()

        def load() -> Attached:
            attachment = attached(declared, width, self.base)
            return replace(attachment, coding=attachment.coding.to(device))

        key = ("coding", content(declared, self.base), width, str(device))
        return load_once(key, load)

    def _declared(self, model: str) -> TargetModel:
        """A network as the study names it."""
        for spec in self.models:
            if spec.name == model:
                return spec
        raise not_found("model", model, [spec.name for spec in self.models])

    def _spec(self, model: str) -> TargetModel:
        """A network's declaration, with measured values where its scaling asks for them."""
        spec = self._declared(model)
        scaling = spec.input.get("scale")
        if scaling not in MEASURED:
            return spec
        if model not in self._measured:
            if self._measure is None:
                raise StudyError(
                    f"models.input.scale = {scaling!r} is measured over a probing set, and there "
                    "is none. Give the values themselves."
                )
            pairs = [list(pair) for pair in self._measure()[scaling]]
            settings = {**spec.input, "scale": pairs, "clip": scaling == "percentiles"}
            self._measured[model] = spec.model_copy(update={"input": settings})
        return self._measured[model]

    def _network(self, model: str) -> Network:
        """The loaded network, checked to be the one that its fingerprint was made from.

        Raises:
            StudyError: when it is another one than was met before, or than a result is made for.
        """
        card = self._card(model)
        net = self._load(model, find_source(self._spec(model), self.base))
        loaded = {"weights": net.weights, "behaviour": net.behaviour}
        expected = {name: card.fingerprint.get(name, "") for name in loaded}
        changed = [name for name in loaded if loaded[name] != expected[name]]
        if changed or self._used_fingerprints.get(model, digest(card.fingerprint)) != digest(
            card.fingerprint
        ):
            raise changed_network(model, changed)
        return net

    def _channels_last(self, spec: TargetModel) -> bool:
        """Whether to use channels-last memory: known libraries allow it, others may call `view`."""
        library = spec.source.partition(":")[0]
        return self.compute.channels_last and library in _CHANNELS_LAST

    def _load(self, model: str, source: NetworkSource) -> Network:
        import torch

        spec = self._spec(model)
        device, channels_last = self.compute.torch_device(), self._channels_last(spec)

        def load() -> Network:
            net = source.build()
            net.weights = state_hash(net.module)
            net.behaviour = behaviour_hash(net.module) if source.own else ""
            net.module.to(device).eval().requires_grad_(requires_grad=False)
            net = in_float32(net, _blank(net).to(device))
            if channels_last:
                net.module.to(memory_format=torch.channels_last)
            if device.type == "cpu":
                net.exact = exact_for(net, source, self.compute)
            return net

        return load_once(self._key(spec, source), load)

    def _key(self, spec: TargetModel, source: NetworkSource) -> Hashable:
        """The key of a loaded network in this process's cache of models."""
        own_version = source.own and digest(source.own.version(read_note(self.cards, source)))
        input_digest = digest(spec.input) if spec.input else ""
        key = (
            spec.source,
            spec.weights,
            spec.weights_key,
            self.base,
            source.content,
            own_version,
            input_digest,
        )
        return "target", *key, str(self.compute.torch_device()), self._channels_last(spec)

    def _card(self, model: str, requested: Collection[str] = ()) -> NetworkInfo:
        """What is known of a network; it is loaded only where no card of it is stored.

        Args:
            model: name in the study.
            requested: paths of layers. Where the network has to be surveyed first, names that no
                module has are refused before.
        """
        spec = self._spec(model)
        source = find_source(spec, self.base)

        def learn() -> NetworkInfo:
            card = self._stored_card(self._name(spec, source))
            if card is None:
                net = self._load(model, source)
                _check_paths(model, net, requested)
                if source.own is not None:
                    self._note(spec, source, net)
                card = self._survey(model, source)
                if self.cards and not self.reading:
                    file = Path(self.cards) / f"{self._name(spec, source)}.json"
                    write_atomic(file, canonical(card.as_json()).encode())
            return load_once(("card", self._name(spec, source)), lambda: card)

        return load_once(("card", self._name(spec, source)), learn)

    def _note(self, spec: TargetModel, source: NetworkSource, net: Network) -> None:
        """Store which files a network's own code was seen to use: its keys depend on them."""
        if spec.weights is None:
            check_repeatable(net, source)
        before = self._key(spec, source)
        if not self.reading:
            write_note(self.cards, source, net.seen)
        rename_loaded(before, self._key(spec, source))

    def _stored_card(self, name: str) -> NetworkInfo | None:
        return NetworkInfo.read(Path(self.cards) / f"{name}.json") if self.cards else None

    def _name(self, spec: TargetModel, source: NetworkSource) -> str:
        """The name of a network's card: a digest of its identity and its declared layouts."""
        declared = sorted((layout.model_dump() for layout in spec.layouts), key=canonical)
        identity = self._identity(spec, source)
        return digest([identity, declared]) if declared else digest(identity)

    def _identity(self, spec: TargetModel, source: NetworkSource) -> dict[str, Json]:
        """Everything that identifies a network without loading it."""
        kind, _, reference = spec.source.partition(":")
        own_version = source.own and source.own.version(read_note(self.cards, source))
        return {
            "source": kind if kind == "hf" else f"{kind}:{_unpinned(kind, reference)}",
            "files": source.content,
            "code": [method_version(type(self), *_READING), *_survey_code()],
            **self.compute.fingerprint(),
            "dtype": self.compute.mixed,
            **{name: version(name) for name in sorted({"torch", "torchvision", source.library})},
            **({"own": own_version} if own_version else {}),
            **({"input": spec.input} if spec.input else {}),
        }

    def _survey(self, model: str, source: NetworkSource) -> NetworkInfo:
        """Survey a network: its weights as loaded, its transform, its layers."""
        from resources.targets.layer_declared import layouts_of

        spec, net = self._spec(model), self._load(model, source)
        with _naming(model):
            survey = self._survey_passes(net)
            if survey.spoiled:
                forget(self._key(spec, source))
                net = self._load(model, source)
            layouts = layouts_of(net.module, survey, spec.layouts)
        modules = {path: module for path, module in net.module.named_modules() if path}
        layers = [_info(p, module, layouts.get(p), survey) for p, module in modules.items()]
        identity = self._identity(spec, source)
        loading = {name: identity[name] for name in identity if name not in ("files", "code")}
        fingerprint: dict[str, Json] = {
            **loading,
            "reading": method_version(type(self), *_READING),
            "weights": net.weights,
            **({"behaviour": net.behaviour} if source.own else {}),
            "transforms": _description(net.transform),
        }
        if getattr(net.module, "transform_input", False):
            fingerprint |= {"transform_input": True}  # no parameter tells it
        return NetworkInfo(fingerprint, tuple(layers), survey.pixels, net.told)

    def _survey_passes(self, net: Network) -> "Survey":
        import torch

        from resources.targets.survey import look

        check_repeats(net.transform if net.bands is None else net.bands.loosely)
        pictures = [net.made_up(seed) for seed in (0, 2)]
        if net.own_transform and net.bands is None:
            check_range(pictures[0], net.pixel_range)
        pixels, second = (self.compute.place(picture[None]) for picture in pictures)
        with torch.inference_mode(), self.compute.autocast(), net.exact.layers():
            return look(net.module, lambda batch: net.call(net.module, batch), pixels, second)

    def _check_neurons(self, model: str, layer_neurons: Mapping[str, Sequence[int]]) -> None:
        for path, neurons in layer_neurons.items():
            count = self.units(model, path)
            for neuron in (n for n in neurons if not 0 <= n < count):
                choices = [f"{path}/{n}" for n in range(count)]
                raise not_found(f"neuron of {model!r}", f"{path}/{neuron}", choices)

    def _layout(self, model: str, path: str) -> Layout:
        layout = self.check(model, path).layout
        assert layout is not None, "only layers with units are read"
        return layout


@cache
def _survey_code() -> tuple[str, ...]:
    """Versions of the code that surveys networks, read from its files without importing it."""
    specs = [find_spec(name) for name in _SURVEYED]
    files = [Path(str(spec.origin)) for spec in specs if spec is not None]
    return tuple(source_version(file.read_text(encoding="utf-8")) for file in files)


@contextmanager
def _naming(model: str) -> Iterator[None]:
    """Within the block, messages of study errors start with the network's name."""
    try:
        yield
    except StudyError as error:
        raise StudyError(f"network {model!r}: {error}") from error


def _check_paths(model: str, net: Network, requested: Collection[str]) -> None:
    """Refuse layers that no module of a network is named as."""
    paths = [path for path, _ in net.module.named_modules() if path]
    for layer in requested:
        if layer not in paths:
            raise _no_layer(model, layer, paths)


def _no_layer(model: str, layer: str, paths: Sequence[str]) -> DndError:
    advice = f"`dnd layers {model}` lists them."
    return not_found(f"layer of {model!r}", layer, paths, advice)


def _unpinned(kind: str, reference: str) -> str:
    """A source without its revision: the bytes count, not the commit they came from."""
    return split_revision(reference)[0] if kind == "timm" else reference


def _blank(net: Network) -> "Tensor":
    """A grey picture as the network takes it, (1, 3, H, W)."""
    return net.blank()[None]


def _info(
    path: str, module: "nn.Module", entry: "KnownLayout | None", survey: "Survey"
) -> LayerInfo:
    kind = type(module).__name__
    if entry is None:
        return LayerInfo(path, kind, None, None, reason="gives no tensor, or does not run")
    raw = survey.seen[path].shape
    layout = entry.layout
    if layout is None:
        return LayerInfo(path, kind, None, raw[1:] or None, reason=entry.reason, raw=raw)
    shape = layout.arranged_shape(raw)
    has_map = layout.places and (layout.kind == "tokens" or math.prod(shape[1:]) > 1)
    reason = "" if has_map else entry.reason
    single_place = math.prod(shape[1:] if layout.kind == "maps" else shape[:-1]) <= 1
    proven = single_place or entry.verdict is Verdict.PROVEN
    return LayerInfo(
        path, kind, layout.units(raw), shape, has_map, entry.known, reason, layout, raw, proven
    )


def _description(transform: object) -> str:
    """A transform in words, without addresses in memory."""
    config = getattr(transform, "config", None)
    text = str(config if config is not None else transform)
    return plain_name(re.sub(r" at 0x[0-9a-fA-F]+", "", text))
