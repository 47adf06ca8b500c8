"""`dnd doctor`: what a study needs, and whether it is there.

Nothing is computed and nothing is downloaded. Of servers only those on this machine are asked, and
no more than whether anything answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.truths import CATEGORIES, check_truths
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.models import assumptions, inventory, loaded
from dnd_assets.engine.network_inputs import check_inputs
from dnd_assets.engine.recording import LIBRARIES
from dnd_assets.errors import DndError
from dnd_assets.files.image_folders import Listing
from dnd_assets.study.image_settings import Images
from dnd_assets.study.label_files import check_imported, counted, sizes_of
from dnd_assets.study.mask_sets import read_masks
from dnd_assets.study.probing_images import image_files
from dnd_assets.study.study import Study
from dnd_assets.study.study_concepts import study_concepts
from dnd_assets.units import by_layer
from dnd_assets.workflow.doctor_report import (
    STATE,
    DoctorReport,
    Finding,
    ModelEntry,
    as_of_now,
    entry_of,
)


def examine(study: Study, home: Path, unset: Mapping[str, str] | None = None) -> DoctorReport:
    """Look at everything a run of the study needs; nothing is computed and nothing raised.

    Args:
        study: the study.
        home: the state folder.
        unset: environment variables that it reads in vain, with the key that reads each.
    """
    return as_of_now(look(study, home, unset), home)


def look(study: Study, home: Path, unset: Mapping[str, str] | None = None) -> DoctorReport:
    """As `examine`, without what has to be asked each time: free room, and servers."""
    context = build_context(study, home)
    models = tuple(entry_of(model) for model in inventory(context))
    files, assumed_of_files = _label_files(context, models)
    variables = {name: f"export {name}=FOLDER" for name in unset or {}}
    findings = (
        Finding("study", f"{study.name}: {study.description}"),
        Finding("libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)),
        *(
            Finding(f"variable {name}", f"{key} reads it, and it is not set", good=False)
            for name, key in (unset or {}).items()
        ),
        _try_check("device", lambda: _device(context)),
        _images("probing set", study.probing_set, lambda: image_files(study, home)),
        _units(context, models),
        *_inputs(context, models),
        *_concepts(study),
        *_masks(study, home),
        *_held_out(study, home),
        *files,
        _try_check(STATE, lambda: _products(context)),
    )
    assumed = (*assumptions(context), *assumed_of_files)
    return DoctorReport(
        findings, models, tuple(variables.values()), assumed, tuple(loaded(context))
    )


def _images(title: str, images: Images, find: Callable[[], Listing]) -> Finding:
    unset_folders = [name for name in images.folders if "${" in name]
    if unset_folders:
        return Finding(title, f"waits for {', '.join(unset_folders)}", good=False)

    def counts_text() -> str:
        files = find()
        parts = [f"{len(files.files):,} image files", files.undecodable(), files.told()]
        return "; ".join(part for part in parts if part)

    return _try_check(title, counts_text)


def _units(context: StudyContext, models: Iterable[ModelEntry]) -> Finding:
    absent = [
        entry.listed.name
        for entry in models
        if entry.listed.used_by == "targets" and not entry.good
    ]
    if absent:
        return Finding("units", f"waits for {', '.join(absent)}", good=False)
    return _try_check("units", lambda: _layers(context))


def _layers(context: StudyContext) -> str:
    groups = by_layer(find_units(context).values())
    return ", ".join(f"{model}/{layer}: {len(units):,}" for (model, layer), units in groups.items())


def _inputs(context: StudyContext, models: Iterable[ModelEntry]) -> list[Finding]:
    """Whether networks that take bands take those of the first files."""
    names = [
        model.name for model in context.study.models if context.targets.takes_bands(model.name)
    ]
    if not names or not _networks_present(models):
        return []

    def check() -> str:
        check_inputs(context, list(stages_of(context.study)))
        return f"{', '.join(names)} take the bands of the first files"

    return [_try_check("bands", check)]


def _concepts(study: Study) -> list[Finding]:
    chosen = study.clip_dissect
    if chosen is None:
        return []
    return [
        _try_check("concepts", lambda: f"{len(study_concepts(study, chosen).concepts):,} concepts")
    ]


def _masks(study: Study, home: Path) -> list[Finding]:
    if study.segmentation is None:
        return []
    return [
        _try_check("masks", lambda: f"{len(read_masks(study, home).images):,} images with masks")
    ]


def _held_out(study: Study, home: Path) -> list[Finding]:
    if study.evaluation is None:
        return []
    find = partial(image_files, study, home, "evaluation")
    return [_images("held-out images", study.evaluation, find)]


def _label_files(
    context: StudyContext, models: Iterable[ModelEntry]
) -> tuple[list[Finding], list[tuple[str, str]]]:
    """What files of labels and truths hold, and what is assumed of how they count units."""
    study, assumed = context.study, list[tuple[str, str]]()
    if not _networks_present(models):
        return [], []

    def labels() -> str:
        sizes = sizes_of(study, context.targets.units)
        check_imported(study, list(find_units(context).values()), sizes)
        by_file = {name: counted(study, name, sizes) for name in study.imported_labels}
        for name, numbering in by_file.items():
            if numbering.is_open:
                assumed.append((f"labels of {name}", numbering.told))
        certain = [numbering for numbering in by_file.values() if not numbering.is_open]
        remarks = [numbering.told for numbering in certain if numbering.told]
        return "; ".join([f"{len(by_file):,} files", *remarks])

    def truths() -> str:
        sizes = sizes_of(study, context.targets.units)
        numbering = check_truths(study, list(find_units(context).values()), sizes)
        assumed.extend([("truths", numbering.told)] if numbering.is_open else [])
        return (numbering.told if not numbering.is_open else "") or "a file that fits the units"

    truths_setting = study.evaluation.truths if study.evaluation is not None else None
    looks = [_try_check("imported labels", labels)] if study.imported_labels else []
    looks += [_try_check("truths", truths)] if truths_setting not in (None, CATEGORIES) else []
    return looks, assumed


def _networks_present(models: Iterable[ModelEntry]) -> bool:
    return all(entry.good for entry in models if entry.listed.used_by == "targets")


def _device(context: StudyContext) -> str:
    """What models run on; workers elsewhere are not asked."""
    if context.workers.elsewhere:
        return f"that of the workers ({context.workers.handed_to}), which are not started for this"
    return context.compute.name()


def _try_check(name: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(name, find())
    except DndError as error:
        return Finding(name, str(error), good=False)


def _products(context: StudyContext) -> str:
    count = context.lineage.query("SELECT count(*) AS n FROM products")[0]["n"]
    return f"{context.home}: {count:,} products"
