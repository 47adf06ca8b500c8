"""A study: the validated TOML file that says what to label and how.

Its sections stand in the modules beside this one that end in `_settings`; those of models that have
kinds, in the folders `kinds` of `resources`, a file for each kind. Every parameter of
Describe-and-Dissect stands there with the paper's value as its default
(DnD, section 3 and appendix; K = 10, alpha = 4, eta = 0.5, N_c = 5, Q = 10, t = 10, beta = 5).
Paths are relative to the study file; `package:module/path` names a file shipped in a package;
`${DND_NAME}` in any text is read from the environment. Models of the Hugging Face hub may be pinned
to a commit (`revision`, or `org/name@revision`); why defaults are not: `resources.checkpoints`.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.files.containers.bucket import in_bucket
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.methods.image_labels.settings import ImageLabelsSettings
from dnd_assets.settings import Kind, Options, Section, checked_name, kinds_of
from dnd_assets.study.compute_settings import ComputeSettings
from dnd_assets.study.image_settings import Collection, ProbingSetSettings
from dnd_assets.study.method_settings import (
    ClipDissect,
    DissectionSettings,
    EvaluationSettings,
    LabelFile,
    Milan,
    NamedDirections,
    Polysemantic,
)
from dnd_assets.study.network_settings import ModelSettings
from dnd_assets.study.segmentation_settings import Segmentation
from resources.captioners.kinds import AnyCaptionerSettings
from resources.captioners.kinds.blip import BlipSettings
from resources.encoders.kinds import AnyEncoderSettings
from resources.encoders.kinds.open_clip import OpenClipSettings
from resources.servers.addresses import is_loopback
from resources.servers.settings import ServerSettings
from resources.summarisers.kinds import AnySummariserSettings
from resources.summarisers.kinds.consensus import ConsensusSettings
from resources.text_to_image.kinds import AnyTextToImageSettings
from resources.text_to_image.kinds.diffusers import DiffusersSettings

_VARIABLE = re.compile(r"\$\{(DND_\w+)\}")
_Section = TypeVar("_Section", bound=Section)


class Study(Section):
    """Everything a run needs to know. See the module docstring for the file format."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    models: list[ModelSettings] = Field(min_length=1)
    probing_set: ProbingSetSettings
    dissection: DissectionSettings = DissectionSettings()
    captioner: AnyCaptionerSettings = BlipSettings()
    summariser: AnySummariserSettings = ConsensusSettings()
    text_to_image: AnyTextToImageSettings = DiffusersSettings()
    clip: AnyEncoderSettings = OpenClipSettings()
    collection: Collection | None = None
    clip_dissect: ClipDissect | None = None
    named_directions: NamedDirections | None = None
    polysemantic: Polysemantic | None = None
    milan: Milan | None = None
    imported_labels: dict[str, LabelFile] = Field(default={})
    own_methods: dict[str, str] = Field(default={})
    evaluation: EvaluationSettings | None = None
    segmentation: Segmentation | None = None
    image_labels: ImageLabelsSettings | None = None
    ablation: AblationSettings | None = None
    compute: ComputeSettings = ComputeSettings()
    store: str = Field(default="", pattern=r"^$|^s3://[^@/?#]+(/[^@?#]*)?$")
    folder: Path = Field(default=Path(), exclude=True, repr=False)

    @field_validator("imported_labels", mode="before")
    @classmethod
    def _files_named(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        files = {
            method: {"file": source} if isinstance(source, str) else source
            for method, source in value.items()
        }
        return {checked_name(str(name), "method"): file for name, file in files.items()}

    @field_validator("own_methods")
    @classmethod
    def _methods_named(cls, value: dict[str, str]) -> dict[str, str]:
        return {checked_name(name, "method"): source for name, source in value.items()}

    @model_validator(mode="after")
    def _names_unique(self) -> Self:
        names = [model.name for model in self.models]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two models are called {repeated[0]!r}; names must differ")
        for model in self.models:
            paths = [layer.path for layer in model.layers]
            repeated_paths = sorted({path for path in paths if paths.count(path) > 1})
            if repeated_paths:
                raise ValueError(f"model {model.name!r} lists layer {repeated_paths[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for section, chosen in self.by_kind().items():
            if "collection" in chosen.RESTS_ON and self.collection is None:
                raise ValueError(
                    f"{section}.kind = {chosen.kind!r} needs a section [collection] with tables = "
                    "['captions.csv'], columns file and caption"
                )
        if self.milan is not None and not self.captioner.LIKELIHOODS:
            raise ValueError(
                f"[milan] needs a captioner that tells how likely a caption is, not kind = "
                f"{self.captioner.kind!r}; use captioner.kind = 'blip', or leave out [milan]"
            )
        return self

    def model(self, name: str) -> ModelSettings:
        """The model called `name`.

        Raises:
            NotFoundError: with the nearest names.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise not_found("model", name, [model.name for model in self.models])

    def by_kind(self) -> dict[str, Kind]:
        """The sections on models that have kinds, by name."""
        return {
            name: section
            for name in type(self).model_fields
            if isinstance(section := getattr(self, name), Kind)
        }

    def servers(self) -> list[str]:
        """Addresses outside this machine that a run may call, which may cost money."""
        served = [section for section in self.by_kind().values() if section.SERVED]
        addresses = [section.base_url for section in served if isinstance(section, ServerSettings)]
        return [url for url in addresses if not is_loopback(urlsplit(url).hostname or "")]

    def path(self, name: str) -> Path:
        """A path written in the study, made absolute from the study file's folder.

        `s3://bucket/folder` stays what it is, but for a slash that paths cannot have.
        """
        if in_bucket(name):
            return Path(name)
        return (self.folder / Path(name).expanduser()).resolve()


def needed(section: _Section | None, name: str, study: Study, example: str = "") -> _Section:
    """A section of a study that something cannot do without.

    Args:
        section: the section.
        name: what it is called.
        study: whose it is.
        example: what it may hold at least.

    Raises:
        StudyError: when the study has none.
    """
    if section is None:
        contents = f" with {example}" if example else ""
        raise StudyError(f"study {study.name!r} has no section [{name}]; add one{contents}.")
    return section


def embedded_studies() -> dict[str, Path]:
    """The studies that ship with the package, by name."""
    folder = Path(str(importlib.resources.files("dnd_assets"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_study(
    name_or_path: str | Path | None = None, unset: dict[str, str] | None = None
) -> Study:
    """Read and check a study.

    Args:
        name_or_path: the name of an embedded study, or a TOML file. None reads the environment
            variable `DND_STUDY`, and without one takes the embedded study `known-answers`.
        unset: collects the variables `${DND_…}` that are not set, with the key that reads each;
            they stay as they are written. None refuses a study that reads one.

    Raises:
        StudyError: naming every wrong key and value with the nearest valid ones.
    """
    study_name = str(name_or_path or os.environ.get("DND_STUDY") or "known-answers")
    path = embedded_studies().get(study_name, Path(study_name).expanduser())
    if not path.is_file():
        local_files = [str(p) for p in Path().glob("*.toml") if p.name != "pyproject.toml"]
        close = ", ".join(nearest(study_name, [*embedded_studies(), *local_files]))
        raise StudyError(
            f"no study {study_name!r}: it is neither a file nor an embedded study; nearest: "
            f"{close}. Set DND_STUDY or --study to one of them."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}. Correct that line.") from error
    try:
        expanded = _expanded(table, str(path), unset)
    except _UnsetVariableError as error:
        raise StudyError(f"{error}{_comments_on(error.variable, path)}") from error
    return parse_study(expanded, path.resolve().parent, str(path))


class _UnsetVariableError(StudyError):
    """A study reads a variable of the environment that is not set."""

    def __init__(self, variable: str, origin: str) -> None:
        super().__init__(
            f"{origin} reads the environment variable {variable}, which is not set. Run "
            f"`export {variable}=…` first, or write the value into the study."
        )
        self.variable = variable


def _comments_on(variable: str, path: Path) -> str:
    """What the comments in a study file say of a variable: from the line with its `export` on.

    A remark behind the `export` goes on in lines below it that are indented, others in all lines.
    """
    remarks: list[str] = []
    continuation = r"#"
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith(f"# export {variable}="):
            value, _, remark = text.partition("#")
            remarks, continuation = [value.strip(), remark.strip()], r"#\s{8}" if remark else r"#"
        elif remarks and re.match(continuation, line) and not text.startswith("export "):
            remarks.append(text.removeprefix("#").strip())
        elif remarks:
            break
    return f" The study says of it: {' '.join(filter(None, remarks))}" if remarks else ""


def _expanded(value: object, origin: str, unset: dict[str, str] | None, where: str = "") -> Any:
    """`${DND_…}` in any text of a study, by the environment.

    Other variables are left alone: the study is recorded with each run, and keys lie in some.
    """
    if isinstance(value, dict):
        prefix = f"{where}." if where else ""
        return {
            key: _expanded(inner, origin, unset, f"{prefix}{key}") for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_expanded(inner, origin, unset, where) for inner in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[1] not in os.environ and unset is not None:
            unset.setdefault(match[1], where)
            return match[0]
        if match[1] not in os.environ:
            raise _UnsetVariableError(match[1], origin)
        return os.environ[match[1]]

    return _VARIABLE.sub(replacement, value)


def parse_study(table: dict[str, object], folder: Path, origin: str = "study") -> Study:
    """Check a study that was read from TOML already; `folder` anchors its relative paths."""
    if "folder" in table:
        raise StudyError(f"{origin}: unknown key 'folder'; images go under [probing_set].")
    try:
        return Study.model_validate({**table, "folder": folder})
    except ValidationError as error:
        lines = [_explain(table, dict(problem)) for problem in error.errors()]
        raise StudyError(
            f"{origin} is not valid:\n" + "\n".join(f"  {x}" for x in lines)
        ) from error


def _explain(table: Options, problem: Options) -> str:
    """One line on one thing pydantic found: where, what was asked, what would be valid."""
    location, section = _placed(problem["loc"])
    where = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        close = ", ".join(nearest(str(location[-1]), section))
        return f"{where}: unknown key; nearest: {close}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where}: is missing"
    if problem["type"] in ("literal_error", "union_tag_invalid"):
        return _unknown_value(where, problem)
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {problem['input']!r} is wrong: {message}"


def _unknown_value(where: str, problem: Options) -> str:
    """Of a value, or of the kind of a section, that is none of those there are."""
    context, value = problem["ctx"], problem["input"]
    kind = problem["type"] == "union_tag_invalid"
    choices = re.findall(r"'([^']+)'", str(context["expected_tags" if kind else "expected"]))
    where, value = (f"{where}.kind", value["kind"]) if kind else (where, value)
    return f"{where}: {value!r} is not known; nearest: {', '.join(nearest(str(value), choices))}"


def _placed(location: tuple[str | int, ...]) -> tuple[list[str | int], list[str]]:
    """Where a problem lies, as the file names it, and the keys that are valid in its table.

    pydantic also lists the kind of a section, as if it were a table in it; it is left out.
    """
    section: Any = Study
    kinds: dict[str, type[Kind]] = {}
    place: list[str | int] = []
    for part in location:
        if part in kinds:
            section, kinds = kinds[str(part)], {}
            continue
        place.append(part)
        if part in section.model_fields:
            annotation = section.model_fields[part].annotation
            kinds, section = kinds_of(annotation), _section_in(annotation) or section
    return place, [key for key in section.model_fields if key != "folder"]


def _section_in(annotation: object) -> object:
    """The Section class inside an annotation such as `list[Model]` or `World | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        section = _section_in(inner)
        if section:
            return section
    return None
