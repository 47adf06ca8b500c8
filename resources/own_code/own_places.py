"""Where the modules that a user's code imports lie: beside the study, on the path, or installed.

A module counts as the user's own when it lies neither in the standard library nor in a folder of
installed packages, and is no part of this project. An installed package is never hidden by a file
beside the study; a file beside the study comes before one of the same name elsewhere on the path.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Final

from dnd_assets.files.atomic import sha256
from dnd_assets.files.reads import MEMORY
from dnd_assets.lineage.fingerprint import digest
from resources.checkpoints import file_hash

PROJECT: Final = Path(__file__).resolve().parents[2]
OURS: Final = ("dnd_assets", "resources")
"""The packages of this project."""
PREFIX: Final = "dnd_own_"
"""Begins the names that own modules have in this process."""
_PREFIXED: Final = re.compile(rf"{PREFIX}[0-9a-f]+_[0-9]+\.")
_INSTALLED: Final = ("site-packages", "dist-packages")
_SYSTEM: Final = ("/proc", "/sys", "/dev", "/etc", "/run", "/usr/lib", "/usr/share")
_LIBRARY: Final = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})
_NOT_OWN: Final = tuple(
    f"{place}{os.sep}" for place in (*_LIBRARY, *_SYSTEM, *(PROJECT / name for name in OURS))
)


def plain_name(text: str) -> str:
    """A text with the names of own modules as the user wrote them."""
    return _PREFIXED.sub("", text)


def is_system(path: str) -> bool:
    """Whether a file belongs to Python, to an installed package, to this project or the system."""
    if not set(_INSTALLED).isdisjoint(path.split(os.sep)):  # noqa: PTH206 (thousands of paths)
        return True
    return path.startswith(_NOT_OWN) and not path.startswith(MEMORY)


def own_root(top: str, base: Path | None, *, named: bool = False) -> Path | None:
    """The folder that holds a top-level module of the user's own; None if it is not the user's.

    Args:
        top: its name, without dots.
        base: folder of the study.
        named: whether the study names it, so that it is the user's even where it is installed as
            a link to its folder.
    """
    if top in sys.stdlib_module_names or top == "dnd_assets" or not top.isidentifier():
        return None
    beside_study = (
        base.resolve() if base is not None and module_file(base.resolve(), [top]) else None
    )
    spec = _spec(top)
    folder = _folder(spec) if spec is not None else None
    if spec is None or (folder is None and spec.origin is None):
        return beside_study
    if folder is None:  # built in, or in an archive
        return None
    if top in OURS and folder == PROJECT:
        return None if beside_study == PROJECT else beside_study
    if is_system(str(folder / top)):
        return beside_study if spec.origin is None else None
    if beside_study is not None:
        return beside_study
    return folder if named or not distributions(top) else None


def module_file(root: Path, parts: Iterable[str]) -> Path | None:
    """The file of a dotted module below a folder, or the folder of a package without a file."""
    path = root.joinpath(*parts)
    endings = ["/__init__.py", ".py", *importlib.machinery.EXTENSION_SUFFIXES, ".pyc"]
    for ending in endings:
        file = Path(f"{path}{ending}")
        if file.is_file():
            return file
    is_package = path.is_dir() and path.name.isidentifier()
    return path if is_package and any(path.glob("*.py")) else _namespace_package(path)


def _namespace_package(path: Path) -> Path | None:
    """A folder without Python files of its own, but with folders of them."""
    return path if path.is_dir() and any(path.glob("*/*.py")) else None


def _spec(top: str) -> ModuleSpec | None:
    """Where the import system finds a module, whatever was imported under its name before."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(top, None) if find is not None else None
        if isinstance(spec, ModuleSpec):
            return spec
    return None


def _folder(spec: ModuleSpec) -> Path | None:
    """The folder that a top-level module was found in."""
    places = list(spec.submodule_search_locations or ())
    if places:
        return Path(places[0]).resolve().parent
    if spec.origin and spec.has_location:
        return Path(spec.origin).resolve().parent
    return None


def distributions(top: str) -> list[str]:
    """The installed distributions that bring a top-level module."""
    _forget_if_changed()
    if not _known:
        providers = packages_distributions()
        _known.update({name: sorted(set(packages)) for name, packages in providers.items()})
    return _known.get(top, [])


packages_distributions = importlib.metadata.packages_distributions
_known: dict[str, list[str]] = {}
_releases: dict[str, tuple[str, bool, str]] = {}
_looked_at: list[tuple[tuple[str, int], ...]] = [()]


def _forget_if_changed() -> None:
    """Forget what is installed when a folder of packages has changed."""
    changes = tuple((folder, _changed_at(folder)) for folder in sys.path)
    if _looked_at[0] != changes:
        _looked_at[0] = changes
        _known.clear()
        _releases.clear()


def _changed_at(folder: str) -> int:
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0


def package_versions(tops: Iterable[str]) -> dict[str, str]:
    """Version of each installed distribution that brings one of these top-level modules.

    One that was installed from a folder or a repository may change under one version: the content
    of its files counts, too, as it does of an installed module of no distribution.
    """
    versions: dict[str, str] = {}
    for top in sorted(set(tops) - set(sys.stdlib_module_names) - set(OURS)):
        names = _same_named(top) or distributions(top)
        for name in names:
            versions[name] = _version(name, top)
        if not names and (content := _content(top)):
            versions[top] = content
    return versions


def _same_named(top: str) -> list[str]:
    """The distribution that is called as its module is, as most are; looking in all takes long."""
    _forget_if_changed()
    if top not in _releases:
        try:
            _releases[top] = _release(top)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return []
    return [top]


def _version(name: str, top: str) -> str:
    _forget_if_changed()
    if name not in _releases:
        _releases[name] = _release(name)
    number, published, files = _releases[name]
    if published:
        return number
    spec = _spec(top)
    if spec is not None and spec.origin and not is_system(str(Path(spec.origin).resolve())):
        return f"{number} {_content(top)}"
    return f"{number} {files}"


def _release(name: str) -> tuple[str, bool, str]:
    """Version of a distribution, whether it is a published one, and what its files are."""
    distribution = importlib.metadata.distribution(name)
    lines = (distribution.read_text("RECORD") or "").splitlines()
    contents = [line for line in lines if ".dist-info/" not in line and "__pycache__" not in line]
    return (
        distribution.version,
        distribution.read_text("direct_url.json") is None,
        digest(sorted(contents))[:12],
    )


def _content(top: str) -> str:
    """Hash of a module's file, or of all Python files of a package; empty if it is nowhere."""
    spec = _spec(top)
    if spec is None:
        return ""
    files: list[Path] = []
    for folder in spec.submodule_search_locations or ():
        files += sorted(Path(folder).rglob("*.py"))
    if not files and spec.origin and spec.has_location and Path(spec.origin).is_file():
        files = [Path(spec.origin)]
    hashes = [[file.name, file_hash(file)] for file in files]
    return sha256(str(hashes).encode())[:12] if hashes else ""
