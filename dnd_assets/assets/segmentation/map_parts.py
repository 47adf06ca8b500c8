"""Parts of passes over the images of `concept_masks`: what is counted on some images, by layer.

A part is a block of images with a reader for each layer; what these have counted comes back, and
readers of the whole pass take it in. See `map_passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from dnd_assets.assets.segmentation.map_readers import (
    Arrays,
    Composition,
    OverlapPass,
    Reader,
    RegionsOfImage,
    State,
    Thresholds,
)
from dnd_assets.assets.segmentation.masked_images import MaskedImages, told_images
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.lineage.code import code_version, method_version
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.segmentation.regions import regions_of
from dnd_assets.study.mask_sets import segmentation_of
from resources.runtime.progress import Progress

IMAGES: Final = 64
"""Images in a part, about: whole batches up to this many."""
Providers = Callable[[StudyContext, str, Iterable[str]], dict[str, str]]
"""Hash of what decides a pass's results of some layers of a network, by layer."""
_Seen = TypeVar("_Seen", contravariant=True)


def map_provider(context: StudyContext, model: str, layer: str) -> str:
    """Hash of what decides the maps of a layer: network, layer, layout; its pooling does not."""
    return context.lineage.provider(
        {
            "target": context.targets.fingerprint(model),
            "layer": layer,
            "layout": context.targets.layout(model, layer),
            **context.shown,
        }
    )


def threshold_providers(context: StudyContext, model: str, layers: Iterable[str]) -> dict[str, str]:
    """Providers of thresholds, by layer."""
    share = segmentation_of(context.study).share
    code = code_version(thresholds_of)
    return {
        path: context.lineage.provider(
            {"maps": map_provider(context, model, path), "share": share, "code": code}
        )
        for path in sorted(set(layers))  # one order, whoever asks: notes of passes rest on it
    }


def count_providers(context: StudyContext, model: str, layers: Iterable[str]) -> dict[str, str]:
    """Providers of overlaps and of counts of regions, by layer."""
    code = [code_version(overlaps_of, region_counts_of), method_version(MaskedImages, "views")]
    return {
        path: context.lineage.provider({"thresholds": provider, "code": code})
        for path, provider in threshold_providers(context, model, layers).items()
    }


def part_of_pass(
    images: MaskedImages,
    indices: Sequence[int],
    about: Mapping[str, Json],
    provider: str,
) -> Part:
    """Some images of a pass; `about` is what is the same for all its parts."""
    hashes = [images.hashes[index] for index in indices]
    return Part(hashes, hashes, {**about, "images": list(indices)}, provider)


def thresholds_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """What a part's images say of the thresholds of all units of some layers."""
    _agree(context, part, threshold_providers)
    model, of_layer = part.about["model"], part.about["layers"]
    share = segmentation_of(context.study).share
    readers = {
        path: Thresholds(range(context.targets.units(model, path)), part.about["of"], share)
        for path in of_layer
    }
    return _counted(context, part, readers, lambda _: None, progress)


def overlaps_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """Overlaps of all units of some layers with all concepts on a part's images."""
    _agree(context, part, count_providers)
    images, views = told_images(context, part.about["masks"])
    categories = [concept.category for concept in images.found.concepts]
    readers = {
        path: OverlapPass(context.store.arrays(told["thresholds"]), categories)
        for path, told in part.about["layers"].items()
    }
    return _counted(context, part, readers, lambda index: images.masks(index, views), progress)


def region_counts_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """Pixels of each region of a part's images inside the thresholded maps of some units."""
    _agree(context, part, count_providers)
    images, views = told_images(context, part.about["masks"])
    readers = {
        path: Composition(told["neurons"], context.store.arrays(told["thresholds"]))
        for path, told in part.about["layers"].items()
    }

    def prepare(index: int) -> RegionsOfImage:
        concepts, masks = images.masks(index, views)
        return (*regions_of(concepts, masks), (masks.shape[1], masks.shape[2]))

    return _counted(context, part, readers, prepare, progress)


def join(readers: Mapping[str, Reader[_Seen]], part: Part, arrays: Arrays) -> None:
    """Have the readers of a pass take in what a part has counted."""
    for path, state in states(readers, arrays).items():
        readers[path].join(state, part.about["images"])


def states(readers: Mapping[str, Reader[_Seen]], arrays: Arrays) -> dict[str, State]:
    """The state of each reader among arrays that `stated` gave."""
    return {
        path: {
            name.removeprefix(f"{number}."): array
            for name, array in arrays.items()
            if name.startswith(f"{number}.")
        }
        for number, path in enumerate(readers)
    }


def stated(readers: Mapping[str, Reader[_Seen]]) -> State:
    """What all readers have counted, as arrays with the reader's number before their names."""
    return {
        f"{number}.{name}": value
        for number, reader in enumerate(readers.values())
        for name, value in reader.state().items()
    }


def _agree(context: StudyContext, part: Part, providers: Providers) -> None:
    model, layers = part.about["model"], part.about["layers"]
    agree(context, part, lambda: digest(providers(context, model, layers)))


def _counted(
    context: StudyContext,
    part: Part,
    readers: Mapping[str, Reader[_Seen]],
    prepare: Callable[[int], _Seen],
    progress: Progress,
) -> PartResult:
    """Show a network a part's images, batch by batch.

    Args:
        context: the study's context.
        part: the part.
        readers: by layer path.
        prepare: what all readers need of an image, by its place in the part.
        progress: counts images.
    """
    layers = {path: reader.neurons for path, reader in readers.items()}
    model, batch = part.about["model"], context.study.compute.batch.target
    for start in range(0, len(part.items), batch):
        block = part.items[start : start + batch]
        maps = context.targets.layer_maps(model, layers, context.seen_by(model, block), batch)
        for row in range(len(block)):
            prepared = prepare(start + row)
            for path, reader in readers.items():
                index = part.about["images"][start + row]
                reader.add(index, torch.from_numpy(maps[path][row]), prepared)
        progress.advance(len(block))
    return PartResult(arrays=stated(readers))
