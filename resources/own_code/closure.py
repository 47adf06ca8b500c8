"""What decides the result of a user's own code, told from its source without running it.

Followed are the import statements of a module, also those inside functions, through every module
of the user's own. Texts in their code that name a file beside them, an environment variable or,
where modules are imported by name, a module, count as used: counting too much only computes again,
counting too little keeps a result that is out of date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json, digest, source_version
from dnd_assets.settings import Options
from resources.checkpoints import file_hash
from resources.own_code.own_places import OURS, is_system, module_file, own_root, package_versions

_IMPORTERS: Final = frozenset({"import_module", "__import__", "find_spec", "run_module"})
_READERS: Final = frozenset({"environ", "environb", "getenv", "getenvb"})
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONSTANT: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_LONGEST_NAME: Final = 255


@dataclass(frozen=True)
class Facts:
    """What the source of one module says.

    Attributes:
        version: of the source, as `source_version`.
        imports: level, module and names of each import statement.
        strings: all texts in the code.
        reads_environment: whether environment variables are mentioned.
        imports_by_name: whether modules are imported by a text.
        listed: the texts of a module-level `FILES`.
    """

    version: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    strings: frozenset[str] = frozenset()
    reads_environment: bool = False
    imports_by_name: bool = False
    listed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObservedUse:
    """What own code was seen to use while it ran, for later plans that do not run it.

    Attributes:
        modules: own modules that were imported.
        packages: top-level names of other modules that were imported.
        files: that were opened; relative to the study's folder where they lie in it.
        folders: whose entries were listed, likewise.
        environment: variables that were read.
    """

    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    def __or__(self, other: ObservedUse) -> ObservedUse:
        """What either has seen."""
        pairs = {name: {*getattr(self, name), *getattr(other, name)} for name in vars(self)}
        return ObservedUse(**{name: tuple(sorted(values)) for name, values in pairs.items()})


@dataclass
class Closure:
    """A module of the user's own with all that it imports.

    Attributes:
        base: folder of the study.
        files: file of each own module by dotted name.
        sources: bytes of those files as they were read.
        packages: top-level names of the other modules that are imported.
        ours: what is imported from this project: module, and name or nothing.
        strings: texts in the code, by the folder of their module.
        reads_environment: whether any module mentions environment variables.
        listed: files that `FILES` names in them.
    """

    base: Path | None
    files: dict[str, Path] = field(default_factory=dict)
    sources: dict[Path, bytes] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    ours: set[tuple[str, str]] = field(default_factory=set)
    strings: dict[Path, set[str]] = field(default_factory=dict)
    reads_environment: bool = False
    listed: set[Path] = field(default_factory=set)
    _named: str = ""
    _roots: dict[str, Path | None] = field(default_factory=dict)

    def root(self, top: str) -> Path | None:
        """The folder of a top-level module of the user's own; see `own_root`."""
        if top not in self._roots:
            self._roots[top] = own_root(top, self.base, named=top == self._named)
        return self._roots[top]

    def roots(self) -> set[Path]:
        """The folders that own modules were found in."""
        return {root for root in self._roots.values() if root is not None}

    def code(self) -> str:
        """Hash of the sources alone."""
        return digest(sorted([name, sha256(self.sources[f])] for name, f in self.files.items()))

    def version(self, observed: ObservedUse | None = None) -> Options:
        """All that counts, as it is now, readable; without places on disk and without secrets."""
        observed = observed or ObservedUse()
        self.add(observed.modules)
        parts: Options = {
            "modules": {name: self._facts(file).version for name, file in self.files.items()},
            "project": {
                f"{m}:{n}" if n else m: _project_version(m, n) for m, n in sorted(self.ours)
            },
            "packages": package_versions({*self.packages, *observed.packages}),
            "files": _file_hashes(self.base, self.data(observed)),
            "folders": {name: _folder_hash(self.place(name)) for name in observed.folders},
            "environment": _variable_hashes({*self._variables(), *observed.environment}),
        }
        return {name: value for name, value in parts.items() if value}

    def data(self, observed: ObservedUse | None = None) -> set[Path]:
        """Files that count besides modules: those seen, listed in FILES or named in the code."""
        mentioned = {
            path
            for folder, texts in self.strings.items()
            for text in texts
            if (path := self._file(folder, text)) is not None
        }
        opened = {self.place(name) for name in (observed.files if observed else ())}
        module_files = set(self.files.values())
        return {path for path in mentioned | opened | self.listed if path not in module_files}

    def place(self, name: str) -> Path:
        """Where a file lies whose name `shown` gave."""
        return (self.base or Path()) / name

    def add(self, names: Iterable[str]) -> None:
        """Follow some modules by dotted name, and all that they import."""
        queue = list(names)
        while queue:
            name = queue.pop()
            if name in self.files or self._is_foreign(name):
                continue
            root = self.root(name.partition(".")[0])
            file = module_file(root, name.split(".")) if root is not None else None
            if file is None or not file.is_file():
                continue
            self.files[name] = file
            queue += self._follow(name, file)

    def _is_foreign(self, name: str) -> bool:
        """Whether a module is not the user's own; it is noted then."""
        top = name.partition(".")[0]
        if self.root(top) is not None:
            return False
        if top not in OURS:
            self.packages.add(top)
        return True

    def _facts(self, file: Path) -> Facts:
        return _facts(self.sources[file], str(file))

    def _follow(self, name: str, file: Path) -> Iterator[str]:
        self.sources[file] = file.read_bytes()
        facts = self._facts(file)
        self.strings.setdefault(file.parent, set()).update(facts.strings)
        self.reads_environment |= facts.reads_environment
        self.listed |= {file.parent / path for path in facts.listed}
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        yield from _parents(name)
        for level, module, names in facts.imports:
            yield from self._imported(_absolute(level, module, package), names)
        if facts.imports_by_name:
            dotted = [text for text in facts.strings if _is_dotted(text)]
            yield from (text for text in dotted if self._is_module(text))

    def _imported(self, module: str, names: tuple[str, ...]) -> Iterator[str]:
        top = module.partition(".")[0]
        if top in OURS and self.root(top) is None:
            self.ours |= {(module, name) for name in names or ("",)}
            return
        yield from (*_parents(module), module)
        yield from (f"{module}.{name}" for name in names if self.root(top) is not None)

    def _is_module(self, text: str) -> bool:
        top = text.partition(".")[0]
        return self.root(top) is not None or bool(package_versions([top]))

    def _file(self, folder: Path, text: str) -> Path | None:
        """The file that a text in the code names, beside its module, the study, or here."""
        if not 0 < len(text) <= _LONGEST_NAME or "\n" in text or "\0" in text:
            return None
        for parent in dict.fromkeys((str(folder), str(self.base or folder), os.getcwd())):  # noqa: PTH109
            # Thousands of texts are asked for: `pathlib` takes ten times as long.
            path = os.path.abspath(os.path.join(parent, text))  # noqa: PTH100, PTH118
            if os.path.isfile(path) and not is_system(path):  # noqa: PTH113
                return Path(path)
        return None

    def _variables(self) -> set[str]:
        pattern = _VARIABLE if self.reads_environment else _CONSTANT
        texts = {text for folder_texts in self.strings.values() for text in folder_texts}
        return {text for text in texts if text in os.environ and pattern.fullmatch(text)}


def closure_of(path: str, base: Path | None) -> Closure:
    """A module of the user's own and all that it imports.

    Raises:
        SyntaxError: when a module is no Python.
        OSError: when one cannot be read.
    """
    folder = base.resolve() if base is not None else None
    closure = Closure(folder, _named=path.partition(".")[0])
    closure.add([path])
    return closure


@lru_cache(maxsize=2048)
def _facts(source: bytes, file: str) -> Facts:
    if not file.endswith(".py"):
        return Facts(sha256(source)[:12])
    text = source.decode("utf-8-sig")
    tree = ast.parse(text, file)
    nodes = list(ast.walk(tree))
    identifiers = {getattr(node, "attr", getattr(node, "id", "")) for node in nodes}
    identifiers |= {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return Facts(
        version=source_version(text),
        imports=tuple(_imports(nodes)),
        strings=frozenset(constant for constant in constants if isinstance(constant, str)),
        reads_environment=bool(identifiers & _READERS),
        imports_by_name=bool(identifiers & _IMPORTERS),
        listed=tuple(_listed(tree)),
    )


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


def _listed(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "FILES" for target in targets):
            value = getattr(node, "value", None)
            parts = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else []
            for part in parts:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _absolute(level: int, module: str, package: str) -> str:
    if not level:
        return module
    parts = package.split(".")
    start = parts[: len(parts) - level + 1]
    return ".".join([*start, module] if module else start)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _project_version(module: str, name: str) -> str:
    """Version of what is imported from this project; empty for a name that is not there."""
    try:
        imported: Any = importlib.import_module(module)
        member = getattr(imported, name) if name else imported
    except (ImportError, AttributeError):
        return ""
    source: Callable[..., Any] | Any = (
        member
        if inspect.isclass(member) or inspect.isfunction(member) or inspect.ismodule(member)
        else imported
    )
    return code_version(source)


def shown(base: Path | None, path: Path) -> str:
    """A file's name in a record: relative to the study's folder where it lies in it."""
    return path.relative_to(base).as_posix() if base and path.is_relative_to(base) else str(path)


def _file_hashes(base: Path | None, paths: Iterable[Path]) -> dict[str, Json]:
    """Hash of each file that is there, by its name within the study's folder, else by its name."""
    hashes: dict[str, list[str]] = {}
    for path in sorted(paths):
        if _is_file(path):
            inside = base is not None and path.is_relative_to(base)
            name = shown(base, path) if inside else path.name
            hashes.setdefault(name, []).append(file_hash(path))
    return {
        name: same_name[0] if len(same_name) == 1 else sorted(same_name)
        for name, same_name in hashes.items()
    }


def _folder_hash(folder: Path) -> str:
    try:
        return digest(sorted(path.name for path in folder.iterdir() if path.name != "__pycache__"))
    except OSError:
        return ""


def _variable_hashes(names: Iterable[str]) -> Mapping[str, str]:
    """Hashes of the variables that are set: they may be secret."""
    values = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    return {name: sha256(f"{name}={value}".encode())[:12] for name, value in values.items()}
