"""Code of a user's own, named in a study as `package.module:name`.

A study can name a network, a captioner, a method or a metric that no file of this project knows.
Naming it in a study is the consent to run it: it is imported like any installed package, also from
a file beside the study.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.files import sha256
from dnd_assets.lineage.fingerprint import source_version


def own(source: str, base: Path | str | None, what: str) -> Callable[..., Any]:
    """The class or function that `source` names.

    Args:
        source: `package.module:name`.
        base: folder of the study; modules there are found when no installed one has the name.
        what: what it is wanted for, for messages.

    Raises:
        StudyError: when the module is not there or cannot be imported.
        NotFoundError: when it has no such class or function; names the nearest.
    """
    path, _, name = source.partition(":")
    module = own_module(path, source, base)
    found = getattr(module, name, None) if name else None
    if not callable(found):
        callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        advice = "It is written package.module:name."
        raise not_found(f"{what} in {path}", name, callables, advice)
    chosen: Callable[..., Any] = found
    return chosen


def own_module(path: str, source: str, base: Path | str | None) -> ModuleType:
    """Import a module; one beside the study is a module of its own for each state of its file.

    Raises:
        StudyError: when it is not there or its import fails; says why.
    """
    spec = located(path, source, base)
    try:
        return importlib.import_module(path) if spec.name == path else _from_file(spec)
    except Exception as error:  # whatever a user's code raises while it is imported
        raise _not_importable(path, source, f"{type(error).__name__}: {error}") from error


def _from_file(spec: ModuleSpec) -> ModuleType:
    """The module of a file beside a study; its folder may be imported from meanwhile."""
    if spec.name in sys.modules:
        return sys.modules[spec.name]
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(str(spec.origin)).parent)
    sys.modules[spec.name] = module  # as the import system does, for classes that look for it
    sys.path.append(folder)
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[spec.name]
        raise
    finally:
        sys.path.remove(folder)
    return module


def own_code(path: str, source: str, base: Path | str | None) -> str:
    """Version of a module's source, without importing it; empty where there is no source.

    Raises:
        StudyError: when there is no such module, or its source is no Python.
    """
    file = Path(str(located(path, source, base).origin))
    if file.suffix != ".py":
        return ""
    try:
        return source_version(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise _not_importable(path, source, error) from error


def located(path: str, source: str, base: Path | str | None) -> ModuleSpec:
    """Where a module lies: an installed one, else a file beside the study.

    A file's module is called after its place and content, so that two studies may have files of
    one name, and an edited file is imported anew.

    Raises:
        StudyError: when it is nowhere.
    """
    try:
        found = _spec(path)
        if found is None and base is not None:
            found = _beside(Path(base).resolve(), path)
    except (ImportError, ValueError, OSError) as error:
        raise _not_importable(path, source, error) from error
    if found is None or not found.origin:
        raise _not_importable(path, source, "there is no such module")
    return found


def _beside(folder: Path, path: str) -> ModuleSpec | None:
    file = folder / f"{path.replace('.', '/')}.py"
    if not file.is_file():
        return None
    state = sha256(str(file).encode() + b"\0" + file.read_bytes())[:12]
    return importlib.util.spec_from_file_location(f"{path.replace('.', '_')}_{state}", file)


def _spec(path: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(path)
    except ModuleNotFoundError:  # of the package that the module is said to lie in
        return None


def _not_importable(path: str, source: str, problem: object) -> StudyError:
    close = ", ".join(nearest(path, beside)) if (beside := _modules_beside(path)) else ""
    return StudyError(
        f"cannot import {path!r} of {source} ({problem}){close and f'; nearest: {close}'}. Install "
        "its package, put its folder on PYTHONPATH, or its file beside the study."
    )


def _modules_beside(path: str) -> list[str]:
    """The modules of the innermost package of a dotted path that exists; no code of it is run."""
    package, _, _ = path.rpartition(".")
    if not package:
        return [one.name for one in pkgutil.iter_modules() if not one.name.startswith("_")]
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    places = found.submodule_search_locations if found is not None else None
    return [f"{package}.{one.name}" for one in pkgutil.iter_modules(places)] if places else []
