"""`dnd doctor`: what a study needs, and whether it is there.

Nothing is computed and nothing is downloaded. Of servers only those on this machine are asked, and
no more than whether anything answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.truths import CATEGORIES, check_truths
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.models import Listed, assumptions, inventory, loaded
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
from dnd_assets.workflow.preflight import answers, check_room
from resources.servers.addresses import is_loopback


@dataclass(frozen=True)
class Finding:
    """One check and its result."""

    what: str
    found: str
    good: bool = True


@dataclass(frozen=True)
class ModelEntry:
    """One model of the study, or a part of it.

    Attributes:
        listed: the model.
        state: whether it can be used, in a word or a sentence.
        good: whether it can.
    """

    listed: Listed
    state: str
    good: bool

    def as_json(self) -> dict[str, object]:
        """The entry as JSON."""
        part = asdict(self.listed.part)
        part.pop("pin")
        return {
            "model": self.listed.name,
            "section": self.listed.section,
            **part,
            "state": self.state,
            "good": self.good,
        }


@dataclass(frozen=True)
class DoctorReport:
    """What was found.

    Attributes:
        findings: study, images, units, state folder.
        models: every model of the study.
        variables: commands that set the environment variables which the study reads in vain.
        assumed: what the study relies on that nothing proves, each with whose it is; a run can
            begin all the same.
        loaded: what was done to weights when they were put in, each with whose they are.
    """

    findings: tuple[Finding, ...]
    models: tuple[ModelEntry, ...]
    variables: tuple[str, ...] = ()
    assumed: tuple[tuple[str, str], ...] = ()
    loaded: tuple[tuple[str, str], ...] = ()

    @property
    def good(self) -> bool:
        """Whether a run can begin."""
        return all(finding.good for finding in self.findings) and all(
            entry.good for entry in self.models
        )

    @property
    def commands(self) -> list[str]:
        """What to run, once each, before the study can run."""
        missing = (entry.listed.part.command for entry in self.models if not entry.good)
        return list(dict.fromkeys([*self.variables, *filter(None, missing)]))

    def as_json(self) -> str:
        """The report as a JSON document."""
        document = {
            "good": self.good,
            "checks": [asdict(finding) for finding in self.findings],
            "models": [entry.as_json() for entry in self.models],
            "assumptions": [{"of": name, "assumed": text} for name, text in self.assumed],
            "loaded": [{"of": name, "told": text} for name, text in self.loaded],
            "commands": self.commands,
        }
        return json.dumps(document, indent=1, ensure_ascii=False)


def examine(study: Study, home: Path, unset: Mapping[str, str] | None = None) -> DoctorReport:
    """Look at everything a run of the study needs; nothing is computed and nothing raised.

    Args:
        study: the study.
        home: the state folder.
        unset: environment variables that it reads in vain, with the key that reads each.
    """
    context = build_context(study, home)
    models = tuple(_entry(model) for model in inventory(context))
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
        _try_check("state folder", lambda: _state(context)),
    )
    assumed = (*assumptions(context), *assumed_of_files)
    return DoctorReport(
        findings, models, tuple(variables.values()), assumed, tuple(loaded(context))
    )


def show(report: DoctorReport, out: Console) -> None:
    """Print the report for people, the commands that get what is missing last."""
    checks = Table(box=None, pad_edge=False)
    checks.add_column("check")
    checks.add_column("result")
    for finding in report.findings:
        style = "green" if finding.good else "red"
        checks.add_row(finding.what, escape(finding.found), style=style)
    out.print(checks)
    out.print()
    models = Table(box=None, pad_edge=False)
    for name in ("model", "source", "revision", "size", "licence", "state"):
        models.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for entry in report.models:
        part = entry.listed.part
        source = f"{part.source} at {part.server}" if part.server else part.source
        cells = (entry.listed.name, source, _short(part.revision), _size(part.size), part.licence)
        state = "missing" if part.command and not entry.good else entry.state
        models.add_row(*map(escape, (*cells, state)), style="green" if entry.good else "red")
    out.print(models)
    for name, text in report.loaded:
        out.print(f"\n{escape(name)}: {escape(text)}", soft_wrap=True)
    if report.assumed:
        out.print("\nThis is assumed, as nothing says it:")
        for name, text in report.assumed:
            out.print(f"  {escape(name)}: {escape(text)}", style="yellow", soft_wrap=True)
    if report.commands:
        out.print("\nThis is missing. Run:")
        for command in report.commands:
            out.print(f"  {command}", markup=False)


def pins(report: DoctorReport) -> str:
    """The lines of a study that pin the models that are here, as TOML."""
    lines: dict[str, list[str]] = {}
    for entry in report.models:
        part, section = entry.listed.part, entry.listed.section
        key, value = part.pin
        if not key:
            lines.setdefault(section, []).append(f"# {entry.listed.name}: {_unpinned(entry)}")
            continue
        place = (
            f"# in [[models]] with name = {json.dumps(part.role)}" if section == "models" else ""
        )
        pin_lines = [place, f"{key} = {json.dumps(value)}  # {part.source}"]
        lines.setdefault(section, []).extend(filter(None, pin_lines))
    blocks = [
        [f"[{name}]" if name != "models" else "", *section_lines]
        for name, section_lines in lines.items()
    ]
    return "\n\n".join("\n".join(filter(None, block)) for block in blocks) + "\n"


def _unpinned(entry: ModelEntry) -> str:
    part = entry.listed.part
    if part.server:
        return f"{part.source} runs at {part.server}, which alone knows its revision"
    if not entry.good:
        return f"{part.source} is missing"
    if part.revision:
        return f"{part.source} is no hub model; its files are known by their bytes"
    return f"{part.source} has no files"


def _entry(model: Listed) -> ModelEntry:
    part = model.part
    if not part.present and "${" in part.source:
        return ModelEntry(model, "waits for the variable", good=False)
    if not part.present:
        return ModelEntry(model, part.problem, good=False)
    if not part.server:
        return ModelEntry(model, "present", good=True)
    if not is_loopback(urlsplit(part.server).hostname or ""):
        return ModelEntry(model, "server, asked in a run", good=True)
    answered = bool(answers(part.server))
    state = "server, answers" if answered else f"nothing answers at {part.server}; start the server"
    return ModelEntry(model, state, good=answered)


def _short(revision: str) -> str:
    kind, colon, content = revision.rpartition(":")
    return f"{kind}{colon}{content[:12]}" or "-"


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


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


def _state(context: StudyContext) -> str:
    free = check_room(context)
    products = context.lineage.query("SELECT count(*) AS n FROM products")[0]["n"]
    return f"{context.home}: {products:,} products, {free}"
