"""Code of a user's own, named in a study as `package.module:name`.

A study can name a network, a captioner, a method or a metric that no file of this project knows.
Naming it in a study is the consent to run it. What it imports of the user's own, the files and
environment variables that it reads and the versions of the packages that it imports count as part
of it; see `resources.own_code.closure` for what is told without running it and
`resources.own_code.watch` for what is seen while it runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.settings import Options
from resources.own_code.closure import Closure, ObservedUse, closure_of, shown
from resources.own_code.imports import Space
from resources.own_code.own_places import OURS, own_root, plain_name
from resources.own_code.watch import Watch, watching


def own(source: str, base: Path | str | None, purpose: str) -> Callable[..., object]:
    """The class or function that `source` names.

    Args:
        source: `package.module:name`.
        base: folder of the study; modules there are found when no installed one has the name.
        purpose: what it is wanted for, for messages.

    Raises:
        StudyError: when the module is not there or cannot be imported.
        NotFoundError: when it has no such class or function; names the nearest.
    """
    return own_function(source, base, purpose).function


@dataclass(frozen=True)
class OwnFunction:
    """A function or class of the user's own, ready to be called.

    Attributes:
        function: the function or class itself.
        code: the source of its module, and of what that imports.
        loaded: that module as it was imported.
    """

    function: Callable[..., Any]
    code: OwnCode
    loaded: Loaded

    def version(self) -> dict[str, Json]:
        """What counts of it, with what its import reads."""
        return self.code.version(self.loaded.seen)

    @contextmanager
    def running(self, *, direct: bool = True) -> Iterator[None]:
        """Within the block it runs; what it uses for the first time must be known to count.

        Args:
            direct: whether it is called directly, so that what this project opens meanwhile is
                opened for it.

        Raises:
            StudyError: when it opened a file or read a variable that its version does not cover.
        """
        with self.loaded.running(direct=direct) as watch:
            yield
        self.code.require_known(self.loaded.seen, self.loaded.seen_in(watch))


def own_function(source: str, base: Path | str | None, purpose: str) -> OwnFunction:
    """As `own`, with what is known of it."""
    code = OwnCode.find(source.partition(":")[0], source, base)
    loaded = _imported(code)
    return OwnFunction(named_in(loaded.module, source, purpose), code, loaded)


def named_in(module: ModuleType, source: str, purpose: str) -> Callable[..., object]:
    """The class or function of a module that `source` names; see `own`."""
    path, _, name = source.partition(":")
    member = getattr(module, name, None) if name else None
    if not callable(member):
        callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        advice = "It is written package.module:name."
        raise not_found(f"{purpose} in {path}", name, callables, advice)
    function: Callable[..., object] = member
    return function


def own_module(path: str, source: str, base: Path | str | None) -> ModuleType:
    """Import a module; the user's own is one of its own for each state of what counts.

    Raises:
        StudyError: when it is not there or its import fails; says why.
    """
    return _imported(OwnCode.find(path, source, base)).module


@dataclass(frozen=True)
class Loaded:
    """A module that was imported.

    Attributes:
        module: the module itself.
        space: where it and its neighbours live; None for an installed one.
        seen: what its import used.
        state: hash of what counts, as it was then.
    """

    module: ModuleType
    space: Space | None = None
    seen: ObservedUse = field(default_factory=ObservedUse)
    state: str = ""

    @contextmanager
    def running(self, *, direct: bool = True) -> Iterator[Watch]:
        """Within the block its code runs, and what that uses is noted."""
        names = self.space.plain_names() if self.space else nullcontext()
        with names, watching(direct=direct) as watch:
            yield watch

    def seen_in(self, watch: Watch) -> ObservedUse:
        """What was watched, with the own modules that were imported by now and their FILES."""
        if self.space is None:
            return ObservedUse()
        closure, loaded = self.space.closure, self.space.loaded
        roots = {closure.base, *closure.roots()} - {None}
        imported = {path for path in watch.sources if roots & set(path.parents)}
        opened = {path for path in watch.files | imported if self._counts(path)}
        listed = {path for name in loaded for path in self._listed(name)}
        return ObservedUse(
            modules=tuple(sorted(loaded)),
            packages=tuple(
                sorted(package for package in watch.packages if closure.root(package) is None)
            ),
            files=tuple(sorted({shown(closure.base, path) for path in opened | listed})),
            folders=tuple(sorted(shown(closure.base, path) for path in watch.folders)),
            environment=tuple(sorted(watch.environment)),
        )

    def _counts(self, path: Path) -> bool:
        """Whether an opened file counts: modules do by themselves, what is gone does not."""
        assert self.space is not None
        if path in self.space.loaded.values():
            return False
        base = self.space.closure.base
        return path.is_file() or (base is not None and path.is_relative_to(base))

    def _listed(self, name: str) -> Iterator[Path]:
        assert self.space is not None
        module = sys.modules.get(f"{self.space.name}.{name}")
        for path in getattr(module, "FILES", None) or ():
            yield self.space.loaded[name].parent / path


@dataclass(frozen=True)
class OwnCode:
    """A module that a study names: found and read, not yet imported.

    Attributes:
        path: its dotted name.
        source: what names it, for messages.
        closure: what it imports and mentions.
        installed: whether it is no module of the user's own.
    """

    path: str
    source: str
    closure: Closure
    installed: bool = False

    @classmethod
    def find(cls, path: str, source: str, base: Path | str | None) -> OwnCode:
        """Find a module and what it imports, without running it.

        Raises:
            StudyError: when there is no such module, or the source of one is no Python.
        """
        folder = Path(base).resolve() if base is not None else None
        try:
            if own_root(path.partition(".")[0], folder, named=True) is None:
                return cls(path, source, _installed(path), installed=True)
            closure = closure_of(path, folder)
        except (ImportError, SyntaxError, ValueError, OSError) as error:
            raise _not_importable(path, source, f"{type(error).__name__}: {error}") from error
        if path not in closure.files:
            raise _not_importable(path, source, "there is no such module")
        return cls(path, source, closure)

    def version(self, observed: ObservedUse | None = None) -> Options:
        """What counts, as it is now; readable."""
        return self.closure.version(observed)

    def load(self) -> Loaded:
        """Import it anew, and note what it does meanwhile.

        Raises:
            StudyError: when that fails; says why.
        """
        space = None if self.installed else Space(self.closure)
        try:
            if space is None:
                return Loaded(importlib.import_module(self.path), state=digest(self.version()))
            with watching() as watch:
                module = space.load(self.path)
        except BaseException as error:
            if space is not None:
                space.forget()
            if not isinstance(error, Exception):
                raise
            problem = f"{type(error).__name__}: {error}"
            raise _not_importable(self.path, self.source, problem) from error
        observed = Loaded(module, space).seen_in(watch)
        return Loaded(module, space, observed, digest(self.version(observed)))

    def require_known(self, recorded: ObservedUse, observed: ObservedUse) -> None:
        """Refuse what own code uses beyond what its version covers.

        Raises:
            StudyError: naming it.
        """
        files = sorted(set(observed.files) - set(recorded.files))
        if files:
            covered = self.closure.data(recorded)
            files = [name for name in files if self.closure.place(name) not in covered]
        environment = sorted(set(observed.environment) - set(recorded.environment))
        if environment:
            variables = self.version(recorded).get("environment", {})
            environment = [
                name for name in environment if name in os.environ and name not in variables
            ]
        modules = sorted(set(observed.modules) - {*self.closure.files, *recorded.modules})
        uncovered = [*files, *(f"${name}" for name in environment), *modules]
        if uncovered:
            more = f" and {len(uncovered) - 5} more" if len(uncovered) > 5 else ""
            raise StudyError(
                f"{self.source} used, while it ran, what was not known to count: "
                f"{', '.join(uncovered[:5])}{more}. A change there would go unseen, so the results "
                "are not kept. Read it when the module is imported, or name files in the module's "
                "FILES = [...], variables and modules as texts in its code."
            )


_loaded_modules: dict[tuple[str, str], Loaded] = {}
"""The module of each study's source as it was imported last."""


def _imported(code: OwnCode) -> Loaded:
    """A module, imported anew when anything that counts has changed."""
    key = (code.path, str(code.closure.base))
    loaded = _loaded_modules.get(key)
    if loaded is None or loaded.state != digest(code.version(loaded.seen)):
        loaded = _loaded_modules[key] = code.load()
    return loaded


def _installed(path: str) -> Closure:
    """A module that is not the user's own: a package's version tells of it, or this project's."""
    if importlib.util.find_spec(path) is None:
        raise ModuleNotFoundError("there is no such module")
    top = path.partition(".")[0]
    closure = Closure(None)
    if top in OURS:
        closure.ours.add((path, ""))
    else:
        closure.packages.add(top)
    return closure


def _not_importable(path: str, source: str, problem: object) -> StudyError:
    close = ", ".join(nearest(path, siblings)) if (siblings := _modules_beside(path)) else ""
    return StudyError(
        f"cannot import {path!r} of {source} ({plain_name(str(problem))})"
        f"{close and f'; nearest: {close}'}. Install its package, put its folder on PYTHONPATH, or "
        "its file beside the study."
    )


def _modules_beside(path: str) -> list[str]:
    """The modules of the innermost package of a dotted path that exists; no code of it is run."""
    package, _, _ = path.rpartition(".")
    if not package:
        return [module.name for module in pkgutil.iter_modules() if not module.name.startswith("_")]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = spec.submodule_search_locations if spec is not None else None
    return [f"{package}.{module.name}" for module in pkgutil.iter_modules(places)] if places else []
