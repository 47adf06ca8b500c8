"""A study: the validated TOML file that says what to label and how.

Its sections stand in the modules beside this one that end in `_settings`. Every parameter of
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
from dnd_assets.study.model_settings import (
    CaptionerSettings,
    Clip,
    SummariserSettings,
    TextToImageSettings,
)
from dnd_assets.study.network_settings import ModelSettings
from dnd_assets.study.segmentation_settings import Segmentation
from dnd_assets.study.settings import Section, checked_name
from resources.servers.addresses import is_loopback

_VARIABLE = re.compile(r"\$\{(DND_\w+)\}")
_Section = TypeVar("_Section", bound=Section)


class Study(Section):
    """Everything a run needs to know. See the module docstring for the file format."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    models: list[ModelSettings] = Field(min_length=1)
    probing_set: ProbingSetSettings
    dissection: DissectionSettings = DissectionSettings()
    captioner: CaptionerSettings = CaptionerSettings()
    summariser: SummariserSettings = SummariserSettings()
    text_to_image: TextToImageSettings = TextToImageSettings()
    clip: Clip = Clip()
    collection: Collection | None = None
    clip_dissect: ClipDissect | None = None
    named_directions: NamedDirections | None = None
    polysemantic: Polysemantic | None = None
    milan: Milan | None = None
    imported_labels: dict[str, LabelFile] = Field(default={})
    own_methods: dict[str, str] = Field(default={})
    evaluation: EvaluationSettings | None = None
    segmentation: Segmentation | None = None
    compute: ComputeSettings = ComputeSettings()
    folder: Path = Field(default=Path(), exclude=True, repr=False)

    @field_validator("imported_labels", mode="before")
    @classmethod
    def _files_named(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        files = {n: {"file": one} if isinstance(one, str) else one for n, one in value.items()}
        return {checked_name(str(name), "method"): file for name, file in files.items()}

    @field_validator("own_methods")
    @classmethod
    def _methods_named(cls, value: dict[str, str]) -> dict[str, str]:
        return {checked_name(name, "method"): source for name, source in value.items()}

    @model_validator(mode="after")
    def _names_unique(self) -> Self:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}; names must differ")
        for model in self.models:
            paths = [layer.path for layer in model.layers]
            again = sorted({path for path in paths if paths.count(path) > 1})
            if again:
                raise ValueError(f"model {model.name!r} lists layer {again[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        kinds = {"captioner": self.captioner.kind, "text_to_image": self.text_to_image.kind}
        for section, kind in kinds.items():
            if kind == "retrieval" and self.collection is None:
                raise ValueError(
                    f"{section}.kind = 'retrieval' needs a section [collection] with tables = "
                    "['captions.csv'], columns file and caption"
                )
        if self.milan is not None and self.captioner.kind != "blip":
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

    def servers(self) -> list[str]:
        """Addresses outside this machine that a run may call, which may cost money."""
        sections = (self.captioner, self.summariser, self.text_to_image)
        asked = [one.base_url for one in sections if one.kind in ("chat", "images")]
        return [url for url in asked if not is_loopback(urlsplit(url).hostname or "")]

    def path(self, name: str) -> Path:
        """A path written in the study, made absolute from the study file's folder."""
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
        held = f" with {example}" if example else ""
        raise StudyError(f"study {study.name!r} has no section [{name}]; add one{held}.")
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
    asked = str(name_or_path or os.environ.get("DND_STUDY") or "known-answers")
    path = embedded_studies().get(asked, Path(asked).expanduser())
    if not path.is_file():
        beside = [str(p) for p in Path().glob("*.toml") if p.name != "pyproject.toml"]
        close = ", ".join(nearest(asked, [*embedded_studies(), *beside]))
        raise StudyError(
            f"no study {asked!r}: it is neither a file nor an embedded study; nearest: {close}. "
            "Set DND_STUDY or --study to one of them."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}. Correct that line.") from error
    expanded = _expanded(table, str(path), unset)
    return parse_study(expanded, path.resolve().parent, str(path))


def _expanded(value: Any, origin: str, unset: dict[str, str] | None, where: str = "") -> Any:
    """`${DND_…}` in any text of a study, by the environment.

    Other variables are left alone: the study is recorded with each run, and keys lie in some.
    """
    if isinstance(value, dict):
        within = f"{where}." if where else ""
        return {
            key: _expanded(inner, origin, unset, f"{within}{key}") for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_expanded(inner, origin, unset, where) for inner in value]
    if not isinstance(value, str):
        return value

    def known(found: re.Match[str]) -> str:
        if found[1] not in os.environ and unset is not None:
            unset.setdefault(found[1], where)
            return found[0]
        if found[1] not in os.environ:
            raise StudyError(
                f"{origin} reads the environment variable {found[1]}, which is not set. Run "
                f"`export {found[1]}=…` first, or write the value into the study."
            )
        return os.environ[found[1]]

    return _VARIABLE.sub(known, value)


def parse_study(table: dict[str, Any], folder: Path, origin: str = "study") -> Study:
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


def _explain(table: dict[str, Any], problem: dict[str, Any]) -> str:
    """One line on one thing pydantic found: where, what was asked, what would be valid."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        keys = _valid_keys(problem["loc"][:-1])
        return f"{where}: unknown key; nearest: {', '.join(nearest(str(problem['loc'][-1]), keys))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where}: is missing"
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", str(problem["ctx"]["expected"]))
        close = ", ".join(nearest(str(problem["input"]), choices))
        return f"{where}: {problem['input']!r} is not known; nearest: {close}"
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {problem['input']!r} is wrong: {message}"


def _valid_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys that the table at `location` takes."""
    section: Any = Study
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = _section_in(annotation) or section
    return [key for key in section.model_fields if key != "folder"]


def _section_in(annotation: Any) -> Any:
    """The Section class inside an annotation such as `list[Model]` or `World | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found:
            return found
    return None
