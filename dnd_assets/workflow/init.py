"""`dnd init`: a study for a network and a folder of images, after a look at both.

What a study needs besides is chosen by what lies on this machine: models that are there are
named; of the others the study has the paper's, with the command that gets it in a comment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dnd_assets.errors import DndError, NotFoundError, StudyError, nearest
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.csv_tables import read_csv
from dnd_assets.files.image_folders import listing
from dnd_assets.study.method_settings import DissectionSettings
from dnd_assets.study.probing_images import no_images, scan
from dnd_assets.study.selection import target_networks
from dnd_assets.study.study import load_study, parse_study
from dnd_assets.workflow.init_layers import chosen_layers
from dnd_assets.workflow.init_text import ENOUGH_TO_DETECT, Choice, ImageFolder, Plan, study_text
from resources.collection import CAPTION_COLUMNS, FILE_COLUMNS
from resources.targets.cards import LayerInfo
from resources.targets.network_sources import find_source

LOOKED_AT: Final = 400
"""Images that are opened to tell what share can be read."""
_TABLES_SEARCHED: Final = 20
_MAX_PIXELS: Final = 89_000_000
_VARIABLE: Final = re.compile(r"\$\{DND_\w+\}")

_ENCODERS: Final[Sequence[Mapping[str, object]]] = (
    {"model": "ViT-B-16", "pretrained": "openai"},
    {"model": "ViT-B-16", "pretrained": "laion2b_s34b_b88k"},
    {"model": "ViT-B-32", "pretrained": "openai"},
    {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
    {"kind": "conse", "classifier": "efficientnet-lite:efficientnet-lite2"},
)
"""Image-text encoders, the paper's first."""
_CAPTIONERS: Final[Sequence[Mapping[str, object]]] = (
    {"checkpoint": "Salesforce/blip-image-captioning-base"},
    {"checkpoint": "Salesforce/blip-image-captioning-large"},
)
_PAINTERS: Final[Sequence[Mapping[str, object]]] = (
    {"checkpoint": "CompVis/stable-diffusion-v1-4"},
    {"checkpoint": "stable-diffusion-v1-5/stable-diffusion-v1-5"},
)


def init(network: str, images: Path, weights: Path | None, output: Path, home: Path) -> Plan:
    """Look at a network and a folder of images, and write a study for them.

    Args:
        network: its source, such as `torchvision:resnet50@IMAGENET1K_V2`.
        images: the folder.
        weights: a weights file for it.
        output: the file to write; must not exist.
        home: the state folder, which keeps what is learned of the network.

    Returns:
        What the study was written from; the file has been read back.

    Raises:
        NotFoundError: when the network or the folder does not exist; names the nearest.
        StudyError: when the file exists, the network cannot be loaded, or no image can be read.
    """
    output = output.expanduser().absolute()
    if output.exists() or output.is_symlink():
        raise StudyError(f"{output} exists and is left as it is. Name another file with --output.")
    base = output.parent
    image_folder = _look_at_folder(images, base)
    model = {"name": _slug(network.rpartition(":")[2]), "source": network}
    if weights is not None:
        model["weights"] = _path_in_study(weights, base)
    table: dict[str, Any] = {
        "name": _study_name(output, model["name"]),
        "models": [{**model, "layers": [{"path": "?"}]}],
        "probing_set": {"folders": [image_folder.folder]},
    }
    untrained, layers, final = _look_at_network(table, base, home)
    chosen = chosen_layers(layers, final)
    if not chosen:
        raise StudyError(f"{network} has no layer with units for a picture; nothing to label.")
    sections = _choose_models(table, base, home, image_folder)
    dissection = _dissection(image_folder, sections["captioner"])
    plan = Plan(
        output.name,
        table["name"],
        model,
        untrained,
        layers,
        chosen,
        image_folder,
        sections,
        dissection,
    )
    write_atomic(output, study_text(plan).encode())
    load_study(output)
    return plan


def _look_at_network(
    table: Mapping[str, object], base: Path, home: Path
) -> tuple[str, list[LayerInfo], list[str]]:
    """Why it has no weights here if so, its modules, and those that give its output."""
    study = parse_study(dict(table), base)
    (model,) = study.models
    (spec,) = target_networks(study, home).models
    untrained = ""
    try:
        find_source(spec, str(base))
    except StudyError as error:
        kind, _, rest = model.source.partition(":")
        if kind != "torchvision" or "@" not in rest or model.weights:
            raise
        untrained = str(error)  # its layers are known without its weights
        bare = model.model_copy(update={"source": f"{kind}:{rest.partition('@')[0]}"})
        study = study.model_copy(update={"models": [bare]})
    targets = target_networks(study, home)
    return untrained, targets.layers(model.name), targets.final_layers(model.name)


def _look_at_folder(images: Path, base: Path) -> ImageFolder:
    folder = images.expanduser().absolute()
    if not folder.is_dir():
        raise _no_folder(folder)
    contents = listing(folder)
    paths = list(contents.files)
    if not paths:
        raise StudyError(f"folder {folder} {no_images(contents)}. Name another with --images.")
    # Spread over the folder, the same ones every time.
    sample = sorted(paths, key=lambda path: sha256(os.fsencode(path.name)))
    opened = sorted(sample[:LOOKED_AT])
    manifest = scan(opened, _MAX_PIXELS)
    readable = len(manifest.files) - len(manifest.quarantined)
    if not readable:
        first = manifest.quarantined[0]
        raise StudyError(
            f"none of {len(opened):,} images opened in {folder} can be read, for example "
            f"{first.path}: {first.quarantined}. Name another folder with --images."
        )
    collection, captioned = _captions(folder, base)
    return ImageFolder(
        _path_in_study(folder, base), len(paths), len(opened), readable, collection, captioned
    )


def _no_folder(folder: Path) -> NotFoundError:
    parent = next(ancestor for ancestor in folder.parents if ancestor.is_dir())
    folder_name = folder.relative_to(parent).parts[0]
    subfolders = [p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    close = ", ".join(nearest(folder_name, sorted(subfolders))) or "no folder"
    return NotFoundError(f"no folder {folder}; {parent} holds: {close}. Correct --images.")


def _captions(folder: Path, base: Path) -> tuple[dict[str, object], int]:
    """A table of captions in or beside the folder, as the section of a collection."""
    tables = [*sorted(folder.glob("*.csv")), *sorted(folder.parent.glob("*.csv"))]
    for path in tables[:_TABLES_SEARCHED]:
        try:
            table = read_csv(path)
        except DndError:
            continue
        file, caption = table.find(FILE_COLUMNS), table.find(CAPTION_COLUMNS)
        if file is None or caption is None:
            continue
        rows = [(row[file], row[caption]) for _, row in table.rows if row[caption].strip()]
        for image_folder in (path.parent, folder):
            if rows and all((image_folder / name).is_file() for name, _ in rows):
                section: dict[str, object] = {"tables": [_path_in_study(path, base)]}
                if image_folder != path.parent:
                    section["folders"] = [_path_in_study(image_folder, base)]
                return section, len(rows)
    return {}, 0


def _choose_models(
    table: Mapping[str, object], base: Path, home: Path, images: ImageFolder
) -> dict[str, Choice]:
    """Each model that is on this machine, else retrieval from captions, else the paper's."""

    def first(section: str, options: Sequence[Mapping[str, object]]) -> Choice:
        return _first_available(table, base, home, section, options)

    clip = first("clip", _ENCODERS)
    captioner, painter = first("captioner", _CAPTIONERS), first("text_to_image", _PAINTERS)
    if captioner.missing and images.collection:
        captioner = Choice({"kind": "retrieval"})
    enough = images.captioned >= DissectionSettings().images_per_concept
    if painter.missing and images.collection and enough:
        painter = Choice({"kind": "retrieval"})
    summariser = Choice({"kind": "consensus"})
    return {
        "captioner": captioner, "summariser": summariser, "text_to_image": painter, "clip": clip
    }  # fmt: skip


def _first_available(
    table: Mapping[str, object],
    base: Path,
    home: Path,
    section: str,
    options: Sequence[Mapping[str, object]],
) -> Choice:
    """The first option whose model is on this machine; else the first of all, and what it lacks."""
    from dnd_assets.engine.context_builder import (
        build_context,  # a wrong name fails before all models are imported
    )

    problem = ""
    for option in options:
        context = build_context(parse_study({**table, section: dict(option)}, base), home)
        try:
            getattr(context, section).check()
        except DndError as error:
            problem = problem or str(error)
        else:
            return Choice(option)
    return Choice(options[0], problem)


def _dissection(images: ImageFolder, captioner: Choice) -> dict[str, int | str]:
    """How labels are chosen, and settings for fewer images than the paper's K."""
    default_exemplars = DissectionSettings().exemplars
    count = images.files * images.readable // images.opened
    settings: dict[str, int | str] = (
        {"exemplars": max(1, count)} if count < default_exemplars else {}
    )
    if count >= ENOUGH_TO_DETECT:
        settings["select"] = "detection"
        if (
            captioner.options.get("kind") == "retrieval"
        ):  # its captions are the encoder's, only coarser
            settings["presence"] = "both"
    return settings


def _path_in_study(path: Path, base: Path) -> str:
    """A path as the study names it: from the study's folder if it lies there, else whole.

    Raises:
        StudyError: when no study could name it.
    """
    absolute = path.expanduser().absolute()
    inside = absolute.is_relative_to(base) and absolute != base
    name = str(absolute.relative_to(base)) if inside else str(absolute)
    if name.startswith("~"):  # a study would read it as somebody's home
        name = str(absolute)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StudyError(
            f"{os.fsencode(absolute)!r} is no UTF-8 text, so no study can name it. Rename it."
        ) from error
    if _VARIABLE.search(name):
        raise StudyError(
            f"{name!r} holds what a study reads as an environment variable "
            f"({_VARIABLE.findall(name)[0]}). Rename that folder."
        )
    return name


def _study_name(output: Path, network: str) -> str:
    """What results are recorded under: the file's name, or the network's where that says nothing.

    Studies that are all called "study" would write into each other's results.
    """
    name = _slug(output.stem)
    return network if name == "study" else name


def _slug(name: str) -> str:
    """A name of small letters, digits, dots, dashes and underscores that starts with a letter."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.partition("@")[0].lower()).strip("._-")
    return slug[:60].rstrip("._-") or "study"
