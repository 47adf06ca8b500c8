"""What `dnd doctor` found, kept as long as nothing of it has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnd_assets.engine.listed import Listed
from dnd_assets.engine.remembered import Remembered
from dnd_assets.errors import DndError
from dnd_assets.study.study import Study
from dnd_assets.workflow.live_checks import answers, check_room
from resources.servers.addresses import is_loopback

STATE: Final = "state folder"
"""What is found of it is completed by its room each time."""


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


def examined(study: Study, home: Path, unset: Mapping[str, str] | None = None) -> DoctorReport:
    """As `dnd_assets.workflow.doctor.examine`, from what was found before if nothing has changed.

    Room and servers of this machine are looked at each time.
    """
    memory = Remembered.of(home, study, "doctor", sorted((unset or {}).items()))
    kept = TypeAdapter(DoctorReport)
    answer = memory.recall()
    if answer is not None:
        return as_of_now(kept.validate_python(answer), home)
    # Imported late: it takes all of the project, and PyTorch.
    from dnd_assets.workflow.doctor import look

    with memory.working_out() as reads:
        found = look(study, home, unset)
    memory.keep(kept.dump_python(found, mode="json"), reads)
    return as_of_now(found, home)


def as_of_now(report: DoctorReport, home: Path) -> DoctorReport:
    """A report with what is asked each time.

    Args:
        report: what was found of files.
        home: the state folder.
    """
    findings = tuple(
        _with_room(finding, home) if finding.what == STATE else finding
        for finding in report.findings
    )
    return replace(report, findings=findings, models=tuple(map(_asked, report.models)))


def _with_room(state: Finding, home: Path) -> Finding:
    """What was found of the state folder, with its room."""
    try:
        free = check_room(home)
    except DndError as error:
        return Finding(STATE, str(error), good=False)
    return replace(state, found=f"{state.found}, {free}") if state.good else state


def entry_of(model: Listed) -> ModelEntry:
    """What to say of a model before any server is asked."""
    part = model.part
    if not part.present and "${" in part.source:
        return ModelEntry(model, "waits for the variable", good=False)
    if not part.present:
        return ModelEntry(model, part.problem, good=False)
    return ModelEntry(model, "server, asked in a run" if part.server else "present", good=True)


def _asked(entry: ModelEntry) -> ModelEntry:
    """An entry, once its server was asked, if that is on this machine."""
    server = entry.listed.part.server
    if not server or not entry.good or not is_loopback(urlsplit(server).hostname or ""):
        return entry
    answered = bool(answers(server))
    state = "server, answers" if answered else f"nothing answers at {server}; start the server"
    return replace(entry, state=state, good=answered)


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


def _short(revision: str) -> str:
    kind, colon, content = revision.rpartition(":")
    return f"{kind}{colon}{content[:12]}" or "-"


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
