"""The pixel labels that a study names: reading the layout, hashing what it names, the manifest.

The manifest names images and masks by the SHA-256 of their bytes and holds no path, so that moved
or renamed files change nothing. Images are in the order of their hashes, concepts in the order of
their names, so that no order of a table shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.segmentation_masks import (
    Concept,
    MaskedImage,
    MaskLayer,
    MaskSet,
    broden,
    index_masks,
    mask_table,
)
from dnd_assets.known_answers.land_cover.land_scenes import scene_files
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.settings import Options
from dnd_assets.study.image_settings import Scenes
from dnd_assets.study.probing_images import ImageFile, scan
from dnd_assets.study.scenes import tiles_of
from dnd_assets.study.segmentation_settings import Segmentation
from dnd_assets.study.study import Study, needed


@dataclass(frozen=True)
class Scan:
    """What the files of a layout hold.

    Attributes:
        masks: the manifest: concepts, codes and images; see `manifest_of`.
        images: hashes of the images, ascending.
        files: every image and mask file that is used.
        set_aside: path and reason of what is not.
        found: images that the layout names, used or not.
    """

    masks: Mapping[str, Any]
    images: tuple[str, ...]
    files: tuple[ImageFile, ...]
    set_aside: tuple[tuple[str, str], ...]
    found: int


def segmentation_of(study: Study) -> Segmentation:
    """The study's section `segmentation`.

    Raises:
        StudyError: when it has none.
    """
    example = "the masks, for example world = {}"
    return needed(study.segmentation, "segmentation", study, example)


def layout_of(study: Study) -> Options:
    """Where the masks lie and in which layout, with absolute paths."""
    chosen = segmentation_of(study)
    if chosen.world is not None:
        return {"world": chosen.world.model_dump()}
    if chosen.scenes is not None:
        return {"scenes": _absolute(study, chosen.scenes.model_dump(), ("folder",))}
    if chosen.table is not None:
        return {"table": _absolute(study, chosen.table.model_dump(), ("file", "images", "masks"))}
    if chosen.broden is not None:
        return {"broden": _absolute(study, chosen.broden.model_dump(), ("folder",))}
    assert chosen.index is not None
    return {"index": _absolute(study, chosen.index.model_dump(), ("images", "masks", "names"))}


def _absolute(study: Study, layout: Options, paths: Sequence[str]) -> Options:
    return {key: str(study.path(value)) if key in paths else value for key, value in layout.items()}


def check_masks(study: Study) -> None:
    """See that what the section names is there, without looking inside.

    Raises:
        StudyError: naming what is missing and what is nearest.
    """
    if study.segmentation is None:
        return
    ((layout, entry),) = layout_of(study).items()
    files = {"table": ("file",), "index": ("names",)}.get(layout, ())
    folders = {"table": ("images", "masks"), "index": ("images", "masks"), "broden": ("folder",)}
    if layout == "scenes":
        scene_files(Path(entry["folder"]))
    for key in (*files, *folders.get(layout, ())):
        path = Path(entry[key])
        if not (path.is_file() if key in files else path.is_dir()):
            kind = "file" if key in files else "folder"
            raise StudyError(f"segmentation.{layout}.{key}: {_missing(path, kind)}")


def _missing(path: Path, kind: str) -> str:
    if path.parent.is_dir():
        close = nearest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
        hint = f"{path.parent} holds: {', '.join(close) or 'nothing'}"
    else:
        hint = f"its folder {path.parent} does not exist either"
    return f"there is no {kind} {path}; {hint}. Correct the path in the study."


def read_masks(study: Study, home: Path) -> MaskSet:
    """The images with pixel labels that a study names.

    Args:
        study: the study.
        home: the state folder; generated images go to `home/masks`.

    Raises:
        StudyError: when a table cannot be read, or no image can be used.
        NotFoundError: when a table, a folder or a split is missing.
    """
    check_masks(study)
    ((layout, entry),) = layout_of(study).items()
    if layout == "table":
        table, images, masks = (Path(entry[key]) for key in ("file", "images", "masks"))
        return mask_table(table, images, masks, entry["concepts"])
    if layout == "broden":
        return broden(Path(entry["folder"]), entry["split"])
    if layout == "index":
        images, masks, names = (Path(entry[key]) for key in ("images", "masks", "names"))
        return index_masks(images, masks, names, entry["category"])
    if layout == "scenes":
        return tiles_of(study, Scenes(**entry), home).masks()
    # Imported late: only studies of the generated world need it.
    from dnd_assets.known_answers.masked_world import write_masked_world

    count, seed = entry["count"], entry["seed"]
    try:
        return write_masked_world(home / "masks" / f"known-answers-{count}-{seed}", count, seed)
    except ValueError as error:
        raise StudyError(f"segmentation.world: {error}. Correct it in the study.") from error


def mask_files(mask_set: MaskSet) -> list[Path]:
    """Every image and mask file of a set, ordered by path, each once."""
    paths = {image.file for image in mask_set.images}
    paths |= {layer.path for image in mask_set.images for layer in image.layers if layer.path}
    return sorted(paths)


def scan_masks(
    mask_set: MaskSet,
    max_pixels: int,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    code: str = "",
) -> Scan:
    """Hash every file of a set, and write its manifest.

    Args:
        mask_set: the set.
        max_pixels: larger images are set aside.
        cache: where to remember files that have not changed.
        advance: called with the number of files done since the last call.
        code: version of the code that reads them.

    Raises:
        StudyError: when no image can be used.
    """
    manifest = scan(mask_files(mask_set), max_pixels, cache, advance, code)
    files = {file.path: file for file in manifest.files}
    set_aside = [(skipped.file, skipped.reason) for skipped in mask_set.set_aside]
    usable: dict[str, MaskedImage] = {}
    for image in mask_set.images:
        reason = _unusable(image, files, usable)
        if reason:
            set_aside.append((str(image.file), reason))
            continue
        image_hash = files[str(image.file)].hash
        earlier_layers = usable[image_hash].layers if image_hash in usable else ()
        usable[image_hash] = MaskedImage(
            image.file, image.size, earlier_layers + image.layers, image.picture
        )
    if not usable:
        raise StudyError(
            f"none of {len(set_aside):,} images with masks can be used; the first, "
            f"{set_aside[0][0]}: {set_aside[0][1]}. Correct the layout under [segmentation]."
        )
    images = tuple(sorted(usable))
    used = {str(path) for path in mask_files(MaskSet((), tuple(usable.values()), ()))}
    return Scan(
        manifest_of(
            mask_set.concepts, {image_hash: usable[image_hash] for image_hash in images}, files
        ),
        images,
        tuple(file for file in manifest.files if file.path in used),
        tuple(set_aside),
        len(usable) + len(set_aside),
    )


def _unusable(
    image: MaskedImage, files: Mapping[str, ImageFile], usable: Mapping[str, MaskedImage]
) -> str:
    """Why an image cannot be used; empty when it can."""
    for path in (image.file, *(layer.path for layer in image.layers if layer.path)):
        if files[str(path)].quarantined:
            return f"{path.name}: {files[str(path)].quarantined}"
    twin = usable.get(files[str(image.file)].hash)
    if twin is not None and twin.size != image.size:
        return f"{twin.file.name} is the same image, with masks of another size"
    return ""


def manifest_of(
    concepts: Sequence[Concept],
    images: Mapping[str, MaskedImage],
    files: Mapping[str, ImageFile],
) -> Options:
    """Images by hash with their masks, as JSON.

    Args:
        concepts: of the set.
        images: by hash, ascending.
        files: hashes of the files, by path.

    Returns:
        `concepts` [[name, category]] in order of name; `codes`, what the pixels of a mask mean,
        {code: [concepts]}; `images` [[hash, [width, height] of masks, [width, height] of the
        image, [[mask's hash or null, encoding, position in `codes`]]]].
    """
    order = sorted(range(len(concepts)), key=lambda i: (concepts[i].name, concepts[i].category))
    new_positions = {old: new for new, old in enumerate(order)}
    code_texts: dict[int, str] = {}

    def codes(layer: MaskLayer) -> str:
        if id(layer.concepts) not in code_texts:  # a layout has one table for thousands of layers
            entry = {
                str(code): sorted(new_positions[i] for i in indices)
                for code, indices in layer.concepts.items()
            }
            code_texts[id(layer.concepts)] = canonical(entry)
        return code_texts[id(layer.concepts)]

    tables = sorted({codes(layer) for image in images.values() for layer in image.layers})
    positions = {table: i for i, table in enumerate(tables)}

    def layers(image: MaskedImage) -> list[list[Any]]:
        rows = [
            [
                files[str(layer.path)].hash if layer.path else None,
                layer.encoding,
                positions[codes(layer)],
            ]
            for layer in image.layers
        ]
        return [row for _, row in sorted({canonical(row): row for row in rows}.items())]

    rows = [
        [image_hash, list(image.size), list(image.picture), layers(image)]
        for image_hash, image in images.items()
    ]
    concept_rows = [[concepts[i].name, concepts[i].category] for i in order]
    return {
        "concepts": concept_rows,
        "codes": [json.loads(table) for table in tables],
        "images": rows,
    }


def from_manifest(masks: Options) -> tuple[list[str], MaskSet]:
    """The inverse of `manifest_of`.

    Returns:
        Hashes of the images, and the set in the same order, whose files are called by their hash.
    """
    codes = [
        {int(code): tuple(indices) for code, indices in table.items()} for table in masks["codes"]
    ]
    images = [
        MaskedImage(
            Path(name),
            (size[0], size[1]),
            tuple(
                MaskLayer(Path(mask) if mask else None, encoding, codes[table])
                for mask, encoding, table in layers
            ),
            (picture[0], picture[1]),
        )
        for name, size, picture, layers in masks["images"]
    ]
    concepts = tuple(Concept(name, category) for name, category in masks["concepts"])
    return [row[0] for row in masks["images"]], MaskSet(concepts, tuple(images), ())


def display_names(concepts: Sequence[Concept]) -> list[str]:
    """What concepts are called in labels: by name, and by category too where two share a name."""
    count = Counter(concept.name for concept in concepts)
    return [str(concept) if count[concept.name] > 1 else concept.name for concept in concepts]
