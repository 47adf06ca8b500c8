"""Checkpoints: model files found by name, on this machine only.

Nothing is downloaded while a study runs. A name is a folder or file, `package:module/rel/path`
for a file inside an installed package, or `org/name` in the local Hugging Face cache, which lies
where `HF_HOME` or `HF_HUB_CACHE` say. `org/name@revision` pins a branch, tag or commit.

No default of a study is pinned to a commit, as a commit proves nothing until it was fetched from
the hub and its files looked at. What counts is exact all the same: every product's key holds the
hash of the bytes that were loaded, each run records the commit they came from, and `dnd doctor
--pin` prints the lines that pin it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnd_assets.errors import MissingError, StudyError, nearest
from dnd_assets.files.atomic import sha256_file
from dnd_assets.lineage.fingerprint import digest

PACKAGE: Final = "package:"
_SUFFIXES: Final = frozenset({".safetensors", ".json", ".txt", ".model"})
_OLD_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth"})


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        folder: where they lie.
        source: the name they were asked for by.
        revision: commit in the Hugging Face cache; None for a folder.
        only: the files of the folder that belong to the model; empty for all.
    """

    folder: Path
    source: str
    revision: str | None = None
    only: tuple[str, ...] = ()

    @classmethod
    def of_file(cls, file: Path, source: str) -> Checkpoint:
        """A model that is a single file; in the Hugging Face cache its commit is known."""
        return cls(file.parent, source, _commit(file), (file.name,))

    def size(self) -> int:
        """Bytes of the files that are loaded: no second copies in another precision or format."""
        is_pipeline = (self.folder / "model_index.json").is_file()
        files = {
            name: path
            for name, path in self._files()
            if "/" in name or not _is_duplicate(name, is_pipeline)
        }
        return sum(
            path.stat().st_size for name, path in files.items() if _base_name(name) not in files
        )

    def fingerprint(self) -> dict[str, str]:
        """Hash of names and bytes of the weights, configurations and vocabularies.

        The place does not matter: the same files elsewhere have the same fingerprint. Pictures,
        model cards and hidden files do not count, nor do old-style weights beside safetensors.
        """
        return {"files": digest(sorted([name, file_hash(path)] for name, path in self._files()))}

    def content(self) -> str:
        """SHA-256 of the one file, or else the hash of all files."""
        if len(self.only) == 1:
            return file_hash(self.folder / self.only[0])
        return self.fingerprint()["files"]

    def _files(self) -> list[tuple[str, Path]]:
        if self.only:
            return [(name, self.folder / name) for name in self.only]
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        relative = [(path.relative_to(self.folder).as_posix(), path) for path in paths]
        visible = [(name, path) for name, path in relative if not f"/{name}".count("/.")]
        safe = any(path.suffix == ".safetensors" for _, path in visible)
        suffixes = _SUFFIXES if safe else _SUFFIXES | _OLD_SUFFIXES
        return [(name, path) for name, path in visible if path.suffix in suffixes]


def _is_duplicate(name: str, is_pipeline: bool) -> bool:
    """Whether a file at the top of a pipeline's folder holds the whole pipeline once more."""
    return is_pipeline and Path(name).suffix not in (".json", ".txt")


def _base_name(name: str) -> str:
    """Name without the variant: `model.fp16.safetensors` gives `model.safetensors`; else empty."""
    stem, *middle, suffix = name.rsplit(".", 2)
    return f"{stem}.{suffix}" if middle and suffix == "safetensors" else ""


def _commit(file: Path) -> str | None:
    """The commit of a file in the Hugging Face cache."""
    places = [file, *file.parents]
    commits = [
        folder.name
        for folder, parent in itertools.pairwise(places)
        if parent.name == "snapshots" and parent.parent.name.startswith("models--")
    ]
    return commits[0] if commits else None


def split_revision(name: str) -> tuple[str, str | None]:
    """A hub id and the revision behind its `@`, if there is one."""
    hub, _, revision = name.partition("@")
    return hub, revision or None


def resolve(
    name: str,
    revision: str | None = None,
    base: Path | str | None = None,
    needs: Sequence[str] = ("config.json",),
) -> Checkpoint:
    """Find the folder of a model.

    Args:
        name: a folder, absolute or relative to `base`; `package:module/path`; or `org/name`,
            `org/name@revision`.
        revision: branch, tag or commit in the Hugging Face cache; None is its `main`.
        base: folder that relative paths start from; None is the working directory.
        needs: file names or patterns (`*.safetensors`) that the folder must hold; the first is a
            plain name.

    Raises:
        MissingError: when it is not on this machine; names the places looked at and the command
            that gets it.
        StudyError: when a folder is not there or incomplete, or is asked for by a revision.
    """
    folder = local_path(name, base)
    if folder is None:
        return _from_cache(*_one_revision(name, revision), base, needs)
    if revision is not None:
        raise StudyError(
            f"{name!r} is a folder, {folder}, which has no revision {revision!r}; its files are "
            "known by their bytes. Leave `revision` out, or name a model of the hub."
        )
    if not folder.is_dir():
        raise StudyError(f"no model folder {name!r}; looked at {folder}. {_neighbours(folder)}")
    _require_files(folder, name, needs)
    return Checkpoint(folder, name)


def resolve_file(name: str, base: Path | str | None = None) -> Path:
    """Find one file: absolute, relative to `base`, or `package:module/path`.

    Raises:
        StudyError: when there is no such file; names the nearest beside it.
    """
    path = local_path(name, base) or _absolute(name, base)
    if not path.is_file():
        raise StudyError(f"no file {name!r}; looked at {path}. {_neighbours(path)}")
    return path


def local_path(name: str, base: Path | str | None = None) -> Path | None:
    """Where a name points on disk; None when it may be an id of the Hugging Face hub.

    An existing folder or file wins over a hub id that reads the same.

    Raises:
        StudyError: when a `package:` name has no such package.
    """
    if name.startswith(PACKAGE):
        return _in_package(name)
    path = _absolute(name, base)
    return path if path.exists() or not _is_hub_id(name) else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file; read again only when its size, times or inode differ."""
    state = path.stat()
    # The time of the last change of the inode cannot be set: files swapped in place show by it.
    key = (
        str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino,
    )  # fmt: skip
    if key not in _hashes:
        _hashes[key] = sha256_file(path)
    return _hashes[key]


_hashes: dict[tuple[str, int, int, int, int], str] = {}


def _absolute(name: str, base: Path | str | None) -> Path:
    return (Path(base or ".") / Path(name).expanduser()).absolute()


def _is_hub_id(name: str) -> bool:
    parts = split_revision(name)[0].split("/")
    well_formed = all(part and part.strip("./~\\") == part for part in parts)
    return len(parts) == 2 and well_formed and Path(name).suffix != ".safetensors"


def _in_package(name: str) -> Path:
    module, _, path = name.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        raise StudyError(
            f"no installed package {module!r} for {name!r}. A name in a package reads "
            "package:module/path; install the package or correct the name."
        )
    places = spec.submodule_search_locations
    folder = Path(next(iter(places))) if places else Path(str(spec.origin)).parent
    return folder / path


def _one_revision(name: str, revision: str | None) -> tuple[str, str | None]:
    hub, pinned = split_revision(name)
    if pinned and revision and pinned != revision:
        raise StudyError(
            f"{name!r} pins a revision, and so does revision = {revision!r}. Keep one of them."
        )
    return hub, pinned or revision


def _from_cache(
    name: str, revision: str | None, base: Path | str | None, needs: Sequence[str]
) -> Checkpoint:
    cache, file = hub_file(name, needs[0], revision)
    command = download_command(name, revision)
    if file is None:
        raise MissingError(
            f"model {name!r}{f' at revision {revision!r}' if revision else ''} is not on this "
            f"machine; looked for the folder {_absolute(name, base)} and in the Hugging Face cache "
            f"{cache}{held_of(cache, name)}. Studies never download: run `{command}` once.",
            command,
        )
    folder = file.parents[needs[0].count("/")]
    missing = _missing(folder, needs)
    if missing:
        raise MissingError(
            f"model {name!r} in {folder} is incomplete; missing: {', '.join(missing)}. "
            f"Run `{command}` to complete it.",
            command,
        )
    return Checkpoint(folder, name, folder.name)


def hub_file(name: str, file: str, revision: str | None = None) -> tuple[Path, Path | None]:
    """The Hugging Face cache, and one file of a model in it; None when it is not there.

    Args:
        name: id of the model.
        file: path in its repository.
        revision: branch, tag or commit; None is `main`.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    cache = Path(constants.HF_HUB_CACHE)
    path = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
    return cache, Path(path) if isinstance(path, str) else None


def held_of(cache: Path, name: str) -> str:
    """What the cache holds of a model: its revisions, or else models with a similar name.

    Part of a sentence, with a comma before; empty when it holds neither.
    """
    folder = cache / f"models--{name.replace('/', '--')}"
    commits = sorted(path.name for path in folder.glob("snapshots/*"))
    refs = {path.read_text().strip(): path.name for path in sorted(folder.glob("refs/*"))}
    if commits:
        revisions = [
            f"{commit} ({refs[commit]})" if commit in refs else commit for commit in commits
        ]
        return f", which holds of it: {', '.join(revisions)}"
    ids = [
        path.name.removeprefix("models--").replace("--", "/", 1) for path in cache.glob("models--*")
    ]
    close = difflib.get_close_matches(name, ids, n=3, cutoff=0.7)
    return f", which holds: {', '.join(close)}" if close else ""


def _missing(folder: Path, needs: Sequence[str]) -> list[str]:
    return [need for need in needs if not any(folder.glob(need))]


def download_command(name: str, revision: str | None = None, file: str | None = None) -> str:
    """The one command that puts a hub model, or one file of it, into the local cache."""
    parts = ["hf download", name, file, f"--revision {revision}" if revision else None]
    return " ".join(part for part in parts if part)


def _require_files(folder: Path, name: str, needs: Sequence[str]) -> None:
    missing = _missing(folder, needs)
    if missing:
        neighbours = ", ".join(nearest(missing[0], sorted(path.name for path in folder.iterdir())))
        raise StudyError(
            f"model folder {name!r} lacks {', '.join(missing)}; {folder} holds "
            f"{neighbours or 'nothing'}. Give the folder of a whole checkpoint."
        )


def _neighbours(path: Path) -> str:
    """Advice that names what lies where a missing path was expected."""
    parent = next(place for place in path.parents if place.is_dir())
    wanted = path.relative_to(parent).parts[0]
    names = nearest(
        wanted, sorted(place.name for place in parent.iterdir() if not place.name.startswith("."))
    )
    return f"{parent} holds: {', '.join(names) or 'nothing'}. Correct the name in the study."


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Silence warnings and progress bars of `transformers` or `diffusers` while a model loads."""
    logs = [importlib.import_module(f"{library}.utils.logging") for library in libraries]
    states = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, (verbosity, bars) in zip(logs, states, strict=True):
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
