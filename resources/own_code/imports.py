"""Own modules are imported under names of their own, so that no two studies share them.

`helpers` of one study is `dnd_own_…_1.helpers` in this process, that of another one, or the same
after an edit, `dnd_own_…_2.helpers`. Import statements in own modules are led there, whenever and
in whichever thread they run; nothing of the user's stays in `sys.modules` under its plain name, and
`sys.path` is as it was.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from resources.own_code.closure import Closure
from resources.own_code.own_places import OURS, PREFIX, is_system, module_file
from resources.own_code.watch import tell_import

_numbers: Final = itertools.count()


@dataclass
class Space:
    """The own modules of one state of a study's code, as they are imported in this process.

    Attributes:
        closure: what is known of the code without running it.
        name: what the modules' names begin with.
        loaded: file of each module that was imported, by dotted name.
    """

    closure: Closure
    name: str = ""
    loaded: dict[str, Path] = field(default_factory=dict)
    _importlib: ModuleType = field(default=importlib, repr=False)

    def __post_init__(self) -> None:
        self.name = f"{PREFIX}{self.closure.code()[:8]}_{next(_numbers)}"
        package = ModuleType(self.name)
        package.__path__ = []
        package.__spec__ = ModuleSpec(self.name, None, is_package=True)
        sys.modules[self.name] = package
        _spaces[self.name] = self
        self._importlib = self._leading_importlib()

    def load(self, path: str) -> ModuleType:
        """Import a module by the user's name for it."""
        with self.plain_names():
            return importlib.import_module(f"{self.name}.{path}")

    def forget(self) -> None:
        """Take the modules out of the process; what was made of them lives on."""
        for name in [name for name in sys.modules if name.startswith(f"{self.name}.")]:
            del sys.modules[name]
        sys.modules.pop(self.name, None)
        _spaces.pop(self.name, None)

    def spec(self, fullname: str) -> ModuleSpec | None:
        """Where a module of this space comes from."""
        path = fullname.removeprefix(f"{self.name}.")
        root = self.closure.root(path.partition(".")[0])
        file = module_file(root, path.split(".")) if root is not None else None
        if file is None:
            return None
        if file.is_dir():
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(file)]
            return spec
        self.loaded[path] = file
        if file.suffix != ".py":
            return importlib.util.spec_from_file_location(fullname, file)
        places = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(fullname, str(file), self)
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=places
        )

    def importer(self) -> Callable[..., object]:
        """`__import__` for the modules of this space."""

        def own_import(
            name: str,
            globals: Mapping[str, object] | None = None,  # noqa: A002  as Python calls it
            locals: Mapping[str, object] | None = None,  # noqa: A002
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> object:
            top = name.partition(".")[0]
            if not level and name == "importlib":
                return self._importlib
            if level or self.closure.root(top) is None:
                if not level:
                    tell_import(top)
                return builtins.__import__(name, globals, locals, fromlist or (), level)
            full = f"{self.name}.{name}"
            if fromlist:
                return builtins.__import__(full, globals, locals, fromlist, 0)
            importlib.import_module(full)
            return sys.modules[f"{self.name}.{top}"]

        return own_import

    def _leading_importlib(self) -> ModuleType:
        """`importlib` for the modules of this space: `import_module` finds their neighbours."""

        def import_module(name: str, package: str | None = None) -> ModuleType:
            is_own = (
                not name.startswith(".") and self.closure.root(name.partition(".")[0]) is not None
            )
            if not is_own and not name.startswith("."):
                tell_import(name.partition(".")[0])
            return importlib.import_module(f"{self.name}.{name}" if is_own else name, package)

        module = ModuleType("importlib", importlib.__doc__)
        module.__dict__.update(vars(importlib), import_module=import_module)
        module.__dict__["__getattr__"] = lambda name: getattr(importlib, name)
        return module

    @contextmanager
    def plain_names(self) -> Iterator[None]:
        """Within the block libraries find own modules beside the study by their plain names."""
        folders = [str(self.closure.base)] if self.closure.base else []
        previous = dict(sys.modules)
        own_names = {name for name in self._beside(previous) if self._is_own(name)}
        for name in own_names:
            del sys.modules[name]
        sys.path += folders
        try:
            yield
        finally:
            for folder in folders:
                if folder in sys.path:
                    sys.path.reverse()
                    sys.path.remove(folder)  # the one that was added
                    sys.path.reverse()
            self._clear(previous)
            sys.modules.update({name: previous[name] for name in own_names})

    def _is_own(self, name: str) -> bool:
        """Whether a module was imported from the study's folder under its plain name."""
        top = name.partition(".")[0]
        if top in OURS or top.startswith(PREFIX):
            return False
        if not self._beside({name: sys.modules[name]}):
            return False
        return self.closure.root(top) == self.closure.base

    def _beside(self, modules: Mapping[str, ModuleType]) -> list[str]:
        """Those of some modules whose file lies below the study's folder.

        Looked at before anything else: thousands of modules are loaded, and this is asked for each
        batch.
        """
        if self.closure.base is None:
            return []
        start = f"{self.closure.base}{os.sep}"
        files = ((name, getattr(module, "__file__", None)) for name, module in modules.items())
        return [name for name, file in files if file and str(file).startswith(start)]

    def _clear(self, previous: Collection[str]) -> None:
        """Note own modules that were imported by plain names; those beside the study go."""
        for name in [name for name in sys.modules if name not in previous]:
            file = getattr(sys.modules[name], "__file__", None)
            if name.startswith(PREFIX) or not file or is_system(str(file)):
                continue
            if self.closure.root(name.partition(".")[0]) is not None:
                self.loaded[name] = Path(str(file))
                if self._is_own(name):
                    del sys.modules[name]


_spaces: dict[str, Space] = {}


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs the source that was looked at; no byte code of another state is read or written."""

    def __init__(self, fullname: str, path: str, space: Space) -> None:
        super().__init__(fullname, path)
        self._space = space

    def get_code(self, fullname: str) -> Any:
        """The module's code, compiled from its source."""
        sources = self._space.closure.sources
        file = Path(self.path)
        if file not in sources:
            sources[file] = file.read_bytes()
        return self.source_to_code(sources[file], self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with import statements that lead to its own neighbours."""
        names = dict(vars(builtins))
        names["__import__"] = self._space.importer()
        module.__dict__["__builtins__"] = names
        super().exec_module(module)


class _Finder:
    """Finds own modules by their names in this process."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Where an own module comes from; None for all others."""
        if not fullname.startswith(PREFIX):
            return None
        space = _spaces.get(fullname.partition(".")[0])
        return space.spec(fullname) if space is not None and "." in fullname else None


sys.meta_path.insert(0, _Finder)
