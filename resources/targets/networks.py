"""Target networks: the networks to be described, their activations, maps and outputs.

How they are loaded, and what is known of their layers: `resources.targets.known_networks`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from dnd_assets.errors import DndError, StudyError
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods.ablation.replacing import Group, Replacement
from dnd_assets.methods.layer_axes import check_shape
from resources.model import ModelPart
from resources.runtime.compute import load_once
from resources.runtime.progress import Progress
from resources.targets.ablated import AblatedPasses, grows, means_of, passes_of
from resources.targets.cards import LastLinear, LayerInfo
from resources.targets.codings import HEADS, coding_part
from resources.targets.heads import check_heads
from resources.targets.known_networks import KnownNetworks, _blank
from resources.targets.network import Network
from resources.targets.network_sources import find_source, source_part
from resources.targets.passes import Found, OfInput, Read, captured

if TYPE_CHECKING:
    from torch import Tensor


Array = NDArray[np.float32]
Neuron = tuple[str, int]
"""A layer's path and a neuron's index."""


class TargetNetworks(KnownNetworks):
    """The networks of a study, loaded when first used, and what their layers give.

    Its attributes are those of `KnownNetworks`.
    """

    def activations(
        self,
        model: str,
        layers: Mapping[str, str],
        images: Sequence[Image | Raster],
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
        from dnd_assets.methods.pooling import stabilise

        counts = {path: self.units(model, path) for path in layers}

        def reader(path: str, pooling: str) -> Read:
            info, layout = self.check(model, path), self._layout(model, path)
            has_class = layout.class_token or (
                info.known == "declared" and pooling == "class_token"
            )

            def read(out: "Tensor") -> Array:
                # In float32 first: the mean of a map would be rounded to 16 bits otherwise.
                values = layout.pooled(out.float(), pooling, class_token=has_class)
                return stabilise(values).cpu().numpy()

            return self._compared(model, info, read)

        readers = {path: reader(path, pooling) for path, pooling in layers.items()}
        rows = self._run(model, readers, images, batch_size, progress)
        empty = {path: np.zeros((0, count), np.float32) for path, count in counts.items()}
        return {p: np.stack([row[p] for row in rows]) if rows else empty[p] for p in layers}

    def maps(
        self,
        model: str,
        units: Sequence[Neuron],
        images: Sequence[Image | Raster],
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
        layer_neurons = {path: sorted({n for p, n in units if p == path}) for path, _ in units}
        self._check_neurons(model, layer_neurons)
        readers = {
            path: self._map_reader(model, path, neurons)
            for path, neurons in layer_neurons.items()
            if self.check(model, path).has_map
        }
        unit_maps: dict[Neuron, list[Array | None]] = {unit: [None] * len(images) for unit in units}
        if not readers:
            return unit_maps
        rows = self._run(model, readers, images, batch_size, progress)
        for index, row in enumerate(rows):
            wanted_units = (
                unit_maps if only is None else [unit for unit in only[index] if unit in unit_maps]
            )
            for path, neuron in wanted_units:
                if path in row:
                    position = layer_neurons[path].index(neuron)
                    unit_maps[path, neuron][index] = row[path][position].copy()
        return unit_maps

    def layer_maps(
        self,
        model: str,
        layers: Mapping[str, Sequence[int]],
        images: Sequence[Image | Raster],
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

    def outputs(self, model: str, images: Sequence[Image | Raster], batch_size: int = 64) -> Array:
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
                output = net.call(net.here, pixels)
            scores = getattr(output, "logits", output)
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
                raise StudyError(f"{model!r} returns no scores of classes, (pictures, classes).")
            if not torch.isfinite(scores).all():
                raise StudyError(f"{model!r} returns scores that are NaN or infinite.")
            return list(stabilise(scores.float()).cpu().numpy())

        rows = self.compute.in_batches(
            images, run, batch_size, prepare=self._pixels(model), pad=True, exact=net.exact
        )
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def values_replaced(
        self, model: str, layer: str, images: Sequence[Image | Raster], batch_size: int = 64
    ) -> NDArray[np.float64]:
        """Mean over places of what ablation replaces in a layer, float64 (pictures, units).

        Of heads each number in their vectors, (pictures, width); of latents what they are replaced
        in, see `methods.ablation.latents`.

        Args:
            model: name in the study.
            layer: path of the layer.
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.
        """
        info, layout = self.check(model, layer), self._layout(model, layer)

        def read(values: "Tensor") -> Array:
            return means_of(values, layout).cpu().numpy()

        readers = {layer: self._compared(model, info, read)}
        rows = self._run(model, readers, images, batch_size, None)
        return np.stack([row[layer] for row in rows]).astype(np.float64)

    def outputs_without(
        self,
        model: str,
        layer: str,
        groups: Sequence[Group],
        images: Sequence[Image | Raster],
        fill: NDArray[np.float64] | None,
        donors: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """What a network itself returns without each of some groups of units of a layer.

        Args:
            model: name in the study.
            layer: path of the layer.
            groups: neurons that are ablated together; an empty one is the whole network.
            images: pictures of any size and mode.
            fill: what stands in the place of each unit of the layer, a mean of `values_replaced`;
                None where donors give it, or nothing does.
            donors: for each of the first N pictures the place among `images` of the one whose
                output stands there; pictures after these are donors alone. None for N = all.
            progress: counts finished pictures.

        Returns:
            float32 (groups, N, outputs), rounded so that other groups do not show.

        Raises:
            StudyError: when the network returns no table of scores, or the layer cannot be ablated.
            NotFoundError: when a neuron does not exist.
        """
        import torch

        from dnd_assets.methods.pooling import stabilise

        self._check_neurons(model, {layer: sorted({n for group in groups for n in group})})
        net, passes = self._network(model), self._ablating(model, layer)
        call, prepare = partial(net.call, net.module), self._pixels(model)
        width = passes.heads.width if passes.heads else self.units(model, layer)
        fill_values = np.zeros(width) if fill is None else fill
        constant = Replacement(fill=self.compute.place(torch.from_numpy(fill_values).float()))
        image_scores = []
        for index in range(len(images) if donors is None else len(donors)):
            picture = self.compute.place(prepare(images[index]))
            with torch.inference_mode(), self.compute.autocast():
                replacement = constant
                if donors is not None:
                    donor = self.compute.place(prepare(images[donors[index]]))
                    replacement = Replacement(donor=passes.given(call, donor))
                scores = passes.scores(call, picture, groups, replacement)
            image_scores.append(stabilise(scores).cpu().numpy())
            if progress is not None:
                progress.advance(1)
        return np.stack(image_scores, axis=1)

    def _ablating(self, model: str, layer: str) -> AblatedPasses:
        """How units of a layer are ablated; see `resources.targets.ablated`."""
        import torch

        layout, units = self._layout(model, layer), self.units(model, layer)
        net = self._network(model)
        passes = passes_of(net.module, layer, layout)

        def try_growing() -> bool:
            picture = self.compute.place(net.made_up(0))
            with torch.inference_mode(), self.compute.autocast():
                return grows(passes, partial(net.call, net.module), picture, units)

        grown = load_once(("ablation", digest(self.fingerprint(model)), layer, units), try_growing)
        return replace(passes, grown=grown)

    def parts(self) -> list[ModelPart]:
        """What each network and its codings are loaded from, in the order of `models`."""
        model_parts = []
        for model in self.models:
            model_parts.append(replace(source_part(model, self.base), role=model.name))
            codings = [coding for coding in model.codings if coding.kind != HEADS]
            model_parts += [coding_part(coding, model.name, self.base) for coding in codings]
        return model_parts

    def assumptions(self, model: str) -> list[str]:
        """Assumptions under a network's results that neither its files nor the study state.

        Raises:
            NotFoundError: when the study has no such model.
            StudyError: when its source or its files are wrong or not on this machine.
        """
        return list(find_source(self._declared(model), self.base).assumed())

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
        assumptions = []
        for model in self.models:
            with suppress(DndError):
                assumptions += [(model.name, text) for text in self.assumptions(model.name)]
        return assumptions

    def fingerprint(self, model: str) -> dict[str, Json]:
        """Everything about a network that may change an activation; its place on disk does not."""
        values = self._card(model).fingerprint
        self._used_fingerprints[model] = digest(values)
        return values

    def categories(self, model: str) -> list[str] | None:
        """Names of the outputs of the last layer, in order; None if they are not known."""
        return self._network(model).categories

    def final_layers(self, model: str) -> list[str]:
        """Paths of the layers whose output is the network's own, for a blank picture.

        Besides the last layer these are the modules around it.
        """
        import torch

        def find_paths() -> list[str]:
            net = self._network(model)
            paths = [info.path for info in self.layers(model) if info.units is not None]
            outputs = self._forward(net, _blank(net), dict.fromkeys(["", *paths], lambda out: out))
            return [p for p in paths if p in outputs and torch.equal(outputs[p], outputs[""])]

        return load_once(("final layers", digest(self.fingerprint(model))), find_paths)

    def last_linear(self, model: str, images: Sequence[Image | Raster]) -> LastLinear:
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
        linear_inputs: dict[str, torch.Tensor] = {}

        def keep(path: str) -> "Callable[[object, tuple[Tensor, ...], object], None]":
            def hook(_module: object, inputs: "tuple[Tensor, ...]", _output: object) -> None:
                linear_inputs.pop(path, None)  # the last to run comes last
                linear_inputs[path] = inputs[0]

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
        path = next((p for p in reversed(linear_inputs) if linear_inputs[p].ndim == 2), None)
        if path is None:
            raise StudyError(
                f"network {model!r} has no linear layer of vectors, whose weights would say what "
                "a unit adds to a class. Choose a classifier that ends in nn.Linear."
            )
        weight = linear[path].weight.float().cpu().numpy()
        return LastLinear(path, weight, linear_inputs[path].float().cpu().numpy())

    def prepared(self, model: str, image: Image | Raster) -> "Tensor":
        """A picture, or a `Raster`, as a network takes it, float32 (channels, H, W).

        Raises:
            StudyError: when it does not take it; says what to write.
        """
        return self._pixels(model)(image)

    def transforms(self, model: str) -> Callable[[Image], "Tensor"]:
        """The preprocessing: a picture (RGB) to a float tensor (3, H, W)."""
        net = self._network(model)
        return net.transform if net.bands is None else net.bands.loosely

    def _compared(self, model: str, info: LayerInfo, read: Read) -> Read:
        """A reader that first checks an output's shape against the survey's."""
        layout, raw = self._layout(model, info.path), info.raw or ()

        def compared(output: "Tensor") -> object:
            layer_name = f"layer {info.path!r} of {model!r}"
            check_shape(layer_name, tuple(output.shape), raw, layout.axes)
            return read(output)

        coding = self._coding(model, info.path)
        if coding is None or coding.kind != HEADS:
            return compared
        check_heads(self._network(model).module, info.path, coding.count or 0)
        return OfInput(compared)

    def _map_reader(self, model: str, path: str, neurons: Sequence[int]) -> Read:
        from dnd_assets.methods.pooling import stabilise

        info, layout = self.check(model, path), self._layout(model, path)

        def read(output: "Tensor") -> Array:
            return stabilise(layout.maps_of(output, neurons)).cpu().numpy()

        return self._compared(model, info, read)

    def _pixels(self, model: str) -> Callable[[Image | Raster], "Tensor"]:
        """The function that prepares a picture for the network; it refuses other sizes."""
        net, expected = self._network(model), tuple(self._card(model).pixels)
        bands = self.takes_bands(model)

        def prepare(image: Image | Raster) -> "Tensor":
            if isinstance(image, Raster) and not bands:
                raise StudyError(f"{model!r} takes RGB pictures, and is given {image.told}.")
            pixels = net.pixels(image)
            if tuple(pixels.shape) != expected:
                raise StudyError(
                    f"the transform of {model!r} gives {tuple(pixels.shape)} for a picture of "
                    f"{image.size[0]} x {image.size[1]} pixels, and {expected} for a square one; "
                    "units are compared at one size. Resize to one size in it, such as "
                    "v2.Resize((224, 224)), or cut out one with v2.CenterCrop(224)."
                )
            return pixels

        return prepare

    def _run(
        self,
        model: str,
        readers: Mapping[str, Read],
        images: Sequence[Image | Raster],
        batch_size: int,
        progress: Progress | None,
    ) -> list[Found]:
        """What `readers` make of the layers' outputs, for each picture."""
        import torch

        net = self._network(model)

        def run(batch: Sequence["Tensor"]) -> list[Found]:
            outputs = self._forward(net, torch.stack(list(batch)), readers)
            return [{p: out[i] for p, out in outputs.items()} for i in range(len(batch))]

        return self.compute.in_batches(
            images,
            run,
            batch_size,
            prepare=self._pixels(model),
            pad=True,
            exact=net.exact,
            progress=progress,
        )

    def _forward(self, net: Network, pixels: "Tensor", readers: Mapping[str, Read]) -> Found:
        import torch

        pixels, module = self.compute.place(pixels), net.here
        with (
            torch.inference_mode(),
            self.compute.autocast(),
            captured(module, readers) as outputs,
        ):
            net.call(module, pixels)
        return outputs
