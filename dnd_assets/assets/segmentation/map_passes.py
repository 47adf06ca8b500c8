"""Passes of a network over the images of `concept_masks`, and what is kept of its maps.

Maps of all images are far too much to keep, so each pass keeps what a method needs of them: the
first one each unit's threshold, the second one its overlaps with all concepts, a third one, for
the units that are asked for, how much of each region is inside its thresholded map. One pass
serves all layers of a network. What a pass has counted is written down now and then, so that one
that dies goes on from there; what it leads to is stored by content for all units of a layer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import safetensors.numpy

from dnd_assets.assets.activations import tell_failed
from dnd_assets.assets.segmentation import map_parts
from dnd_assets.assets.segmentation.map_parts import (
    Providers,
    count_providers,
    join,
    overlaps_of,
    part_of_pass,
    region_counts_of,
    stated,
    states,
    threshold_providers,
    thresholds_of,
)
from dnd_assets.assets.segmentation.map_readers import (
    Arrays,
    Composition,
    OverlapPass,
    Reader,
    Thresholds,
)
from dnd_assets.assets.segmentation.masked_images import MaskedImages, Views
from dnd_assets.engine.cache.shared_results import cached, shared_row
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Work
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Job, Part
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.lineage.fingerprint import Json, canonical, digest
from dnd_assets.lineage.records import CONCEPT_MASKS, Product, artefact_row
from dnd_assets.methods.segmentation.regions import Pattern
from dnd_assets.study.mask_sets import segmentation_of
from dnd_assets.units import Unit

_Seen = TypeVar("_Seen", contravariant=True)

_SAVE_EVERY_S = 20.0


@dataclass(frozen=True)
class Pass:
    """One pass of a network over the images.

    Attributes:
        context: the study's context.
        model: the network.
        kind: what it is for, for people and for the name of its notes.
        job: does a part of it.
        providers: what decides its result of each layer.
        key: what else does.
    """

    context: StudyContext
    model: str
    kind: str
    job: Job
    providers: Mapping[str, str]
    key: Json

    @property
    def _notes(self) -> Path:
        name = digest([self.kind, self.model, self.providers, self.key])
        return self.context.home / "passes" / f"{name}.partial"

    def left(self, images: int) -> int:
        """How many of so many images are still to be passed."""
        notes = self._read()
        return images - (len(notes["done"]) if notes else 0)

    def run(
        self,
        images: MaskedImages,
        readers: Mapping[str, Reader[_Seen]],
        layers: Mapping[str, Json],
        views: Views | None = None,
    ) -> None:
        """Show the network every image once, or those that a pass that died has left.

        Args:
            images: the images.
            readers: by layer path; they take in what is counted.
            layers: what a job has to be told of each layer.
            views: what the network sees of them, where their masks are needed.

        Raises:
            StudyError: when a layer's maps differ in size from image to image.
        """
        context, notes = self.context, self._read()
        done = set(notes["done"].tolist()) if notes else set()
        if notes:
            for path, state in states(readers, notes).items():
                readers[path].load(state)
        left = [index for index in range(len(images.hashes)) if index not in done]
        about = {"model": self.model, "layers": layers, "of": len(images.hashes)}
        progress = context.progress(f"{self.model}: {self.kind}", len(left))
        saved = time.monotonic()
        for part, result in hand_out(
            context, self.job, self._parts(images, left, about, views), progress
        ):
            join(readers, part, result.arrays)
            done.update(part.about["images"])
            context.count("forward passes", len(part.items))
            if time.monotonic() - saved >= _SAVE_EVERY_S:
                self._write(done, readers)
                saved = time.monotonic()

    def _parts(
        self,
        images: MaskedImages,
        left: Sequence[int],
        about: Mapping[str, Json],
        views: Views | None,
    ) -> Iterator[Part]:
        batch, provider = self.context.study.compute.batch.target, digest(self.providers)
        size = max(batch, map_parts.IMAGES // batch * batch)
        for start in range(0, len(left), size):
            block = left[start : start + size]
            masks = {"masks": images.told(block, views)} if views is not None else {}
            yield part_of_pass(images, block, {**about, **masks}, provider)

    def forget(self) -> None:
        """Remove what was noted, once the result is recorded."""
        with suppress(OSError):
            self._notes.unlink(missing_ok=True)

    def _read(self) -> Arrays | None:
        """What a pass that died has noted; None for nothing, and for notes that are torn."""
        try:
            data = self._notes.read_bytes()
        except OSError:
            return None
        checksum, content = data[:64], data[64:]
        if sha256(content).encode() != checksum:
            return None
        arrays: Arrays = safetensors.numpy.load(content)
        return arrays

    def _write(self, done: Iterable[int], readers: Mapping[str, Reader[_Seen]]) -> None:
        arrays = {"done": np.array(sorted(done), dtype=np.int64), **stated(readers)}
        content = safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
        write_atomic(self._notes, sha256(content).encode() + content)


@dataclass(frozen=True)
class Kept:
    """A stored result of a pass.

    Attributes:
        file: in the store.
        arrays: its content.
    """

    file: str
    arrays: Arrays


@dataclass(frozen=True)
class Passes:
    """The passes that some units need, counted before or run.

    Attributes:
        context: the study's context.
        product: the `concept_masks` that the units are labelled with.
    """

    context: StudyContext
    product: Product

    def thresholds_to_make(self, model: str, layers: Iterable[str]) -> int:
        """Forward passes until the thresholds of some layers are known."""
        missing = self._lacking(
            "map_thresholds", threshold_providers(self.context, model, layers), self._listed
        )
        return self._pass(model, "thresholds", missing, self._listed).left(self._images(missing))

    def dissections_to_make(self, model: str, layers: Iterable[str]) -> int:
        """Forward passes until the overlaps of some layers are known, thresholds left out."""
        missing = self._lacking(
            "map_overlaps", count_providers(self.context, model, layers), self._masks
        )
        return self._pass(model, "overlaps", missing, self._masks).left(self._images(missing))

    def regions_to_make(self, model: str, units: Iterable[Unit]) -> int:
        """Forward passes until some units' regions are known, thresholds left out."""
        missing = self._units_lacking(model, units)
        return self._regions_pass(model, missing).left(self._images(missing))

    def thresholds(
        self, images: MaskedImages, model: str, layers: Iterable[str]
    ) -> dict[str, Kept]:
        """The thresholds of all units of some layers; see `Thresholds.result`."""
        context, share = self.context, segmentation_of(self.context.study).share
        providers = threshold_providers(context, model, layers)
        missing = self._lacking("map_thresholds", providers, self._listed)
        if missing:
            count = len(images.hashes)
            readers = {
                path: Thresholds(range(context.targets.units(model, path)), count, share)
                for path in missing
            }
            network_pass = self._pass(model, "thresholds", missing, self._listed)
            network_pass.run(images, readers, dict.fromkeys(missing))
            for path, reader in readers.items():
                self._keep("map_thresholds", providers[path], self._listed, reader.result())
            network_pass.forget()
        layer_thresholds = self._kept("map_thresholds", providers, self._listed)
        for path, stored in layer_thresholds.items():
            failed = [images.hashes[index] for index in stored.arrays["failed"].tolist()]
            if failed:
                tell_failed(context, f"{model}/{path}", failed, len(images.hashes))
        return layer_thresholds

    def dissections(
        self, images: MaskedImages, model: str, layers: Sequence[str]
    ) -> dict[str, tuple[Kept, Kept]]:
        """Thresholds and overlaps of all units of some layers; see `OverlapPass.result`."""
        thresholds = self.thresholds(images, model, layers)
        providers = count_providers(self.context, model, layers)
        missing = self._lacking("map_overlaps", providers, self._masks)
        if missing:
            categories = [concept.category for concept in images.found.concepts]
            readers = {path: OverlapPass(thresholds[path].arrays, categories) for path in missing}
            told = {path: {"thresholds": thresholds[path].file} for path in missing}
            network_pass = self._pass(model, "overlaps", missing, self._masks)
            network_pass.run(images, readers, told, images.views(model))
            for path, reader in readers.items():
                self._keep("map_overlaps", providers[path], self._masks, reader.result())
            network_pass.forget()
        overlaps = self._kept("map_overlaps", providers, self._masks)
        return {path: (thresholds[path], overlaps[path]) for path in layers}

    def regions(
        self,
        images: MaskedImages,
        model: str,
        units: Sequence[Unit],
        patterns: Sequence[Pattern],
    ) -> dict[Unit, tuple[Kept, Kept, int]]:
        """Thresholds, counts of regions, and the unit's row in these; see `Composition.result`."""
        thresholds = self.thresholds(
            images, model, list(dict.fromkeys(unit.layer for unit in units))
        )
        missing = self._units_lacking(model, units)
        if missing:
            neurons = _neurons(missing)
            readers = {
                path: Composition(layer_neurons, thresholds[path].arrays, patterns)
                for path, layer_neurons in neurons.items()
            }
            told = {
                path: {"thresholds": thresholds[path].file, "neurons": layer_neurons}
                for path, layer_neurons in neurons.items()
            }
            network_pass = self._regions_pass(model, missing)
            network_pass.run(images, readers, told, images.views(model))
            for path, layer_units in _by_path(missing).items():
                self._keep_regions(model, path, layer_units, readers[path].result())
            network_pass.forget()
        return self._kept_regions(model, units, thresholds)

    @property
    def _listed(self) -> str:
        return str(self.product.payload["manifest"])

    @property
    def _masks(self) -> str:
        return str(self.product.payload["masks"])

    def _images(self, missing: Sequence[Any]) -> int:
        return int(self.product.payload["images"]) if missing else 0

    def _lacking(self, kind: str, providers: Mapping[str, str], item: str) -> list[str]:
        """Layers whose result is not stored, and not promised by an earlier stage of a plan."""
        return [
            path
            for path, provider in providers.items()
            if not cached(self.context, kind, provider, [item])
            and self.context.promise(f"{kind} {provider}", [item])
        ]

    def _units_lacking(self, model: str, units: Iterable[Unit]) -> list[Unit]:
        missing: list[Unit] = []
        for path, layer_units in _by_path(units).items():
            provider = count_providers(self.context, model, [path])[path]
            items = {self._item(unit): unit for unit in layer_units}
            stored = cached(self.context, "map_regions", provider, list(items))
            missing += [unit for item, unit in items.items() if item not in stored]
        return sorted(missing)

    def _item(self, unit: Unit) -> str:
        return canonical([self._masks, unit.neuron])

    def _pass(self, model: str, kind: str, missing: Sequence[str], item: str) -> Pass:
        job, providers = _JOBS[kind]
        made_by = providers(self.context, model, missing)
        return Pass(self.context, model, kind, job, made_by, item)

    def _regions_pass(self, model: str, missing: Sequence[Unit]) -> Pass:
        neurons = _neurons(missing)
        providers = count_providers(self.context, model, neurons)
        key = [neurons, self._masks]
        return Pass(self.context, model, "regions", region_counts_of, providers, key)

    def _keep(self, kind: str, provider: str, item: str, arrays: Arrays) -> None:
        file = self._put(kind, arrays)
        self.context.lineage.commit({"shared": [shared_row(kind, provider, item, {"file": file})]})

    def _keep_regions(self, model: str, path: str, units: Sequence[Unit], arrays: Arrays) -> None:
        provider, file = (
            count_providers(self.context, model, [path])[path],
            self._put("map_regions", arrays),
        )
        rows = [
            shared_row("map_regions", provider, self._item(unit), {"file": file, "row": row})
            for row, unit in enumerate(units)
        ]
        self.context.lineage.commit({"shared": rows})

    def _put(self, kind: str, arrays: Arrays) -> str:
        file = self.context.store.put_arrays(arrays)
        size = self.context.store.size(file)
        row = artefact_row(file.partition(".")[0], file, kind, size)
        self.context.lineage.commit({"artefacts": [row]})
        return file

    def _kept(self, kind: str, providers: Mapping[str, str], item: str) -> dict[str, Kept]:
        results = {}
        for path, provider in providers.items():
            file = str(cached(self.context, kind, provider, [item])[item]["file"])
            results[path] = Kept(file, self.context.store.arrays(file))
        return results

    def _kept_regions(
        self, model: str, units: Sequence[Unit], thresholds: Mapping[str, Kept]
    ) -> dict[Unit, tuple[Kept, Kept, int]]:
        results = {}
        files: dict[str, Kept] = {}  # one holds what was counted of many units
        for path, layer_units in _by_path(units).items():
            items = {unit: self._item(unit) for unit in layer_units}
            provider = count_providers(self.context, model, [path])[path]
            stored = cached(self.context, "map_regions", provider, list(items.values()))
            for unit, item in items.items():
                file = str(stored[item]["file"])
                if file not in files:
                    files[file] = Kept(file, self.context.store.arrays(file))
                results[unit] = (thresholds[path], files[file], int(stored[item]["row"]))
        return results


_JOBS: Final[Mapping[str, tuple[Job, Providers]]] = {
    "thresholds": (thresholds_of, threshold_providers),
    "overlaps": (overlaps_of, count_providers),
}
"""What does a part of a pass over whole layers, and what decides its results."""


def passes_of(context: StudyContext, work: Work) -> Passes:
    """The passes over the images of a unit's `concept_masks`."""
    return Passes(context, work.inputs[CONCEPT_MASKS])


def by_model(work: Iterable[Work]) -> dict[str, list[Work]]:
    """Units by their network, in order."""
    work_by_model: dict[str, list[Work]] = {}
    for item in work:
        work_by_model.setdefault(item.unit.model, []).append(item)
    return work_by_model


def _by_path(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    units_by_path: dict[str, list[Unit]] = {}
    for unit in units:
        units_by_path.setdefault(unit.layer, []).append(unit)
    return units_by_path


def _neurons(units: Iterable[Unit]) -> dict[str, list[int]]:
    return {path: [unit.neuron for unit in found] for path, found in _by_path(units).items()}
