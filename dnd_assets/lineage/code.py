"""Code versions: what a product's code reaches inside the project, as one short hash.

The code of a function is its own syntax tree and, through every name that it uses, those of the
functions, classes and module constants of this project that it leads to, however many steps away.
All of this is read from the source files, and nothing is imported for it; so it is the same in
every process and costs no heavy import.

What is left out of the trees: docstrings, comments and formatting, import statements, annotations
of functions, and where a module lies; a name that was imported counts as what it means, not as what
the importing module calls it. Hence moving a module or a function changes no version.

What is not entered at all, because it moves results about but does not decide them, stands in
`dnd_assets.lineage.code_limits`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from dnd_assets.lineage.code_cache import project_versions
from dnd_assets.lineage.code_limits import (
    ENTERED_ALL_THE_SAME,
    NOT_PART_OF_RESULTS,
    PACKAGES,
    PLANNING_BASES,
    PLANNING_MEMBERS,
)
from dnd_assets.lineage.code_modules import Module, Node, head_of
from dnd_assets.lineage.code_names import Imported, Piece, first_class, read, without_docstrings

Source = ModuleType | Callable[..., object] | type
_ROOT = Path(__file__).resolve().parent.parent.parent
_ROUNDS = 3
_WHOLE = "*"
_DIGITS = 12


class Project:
    """Source files of the project below a folder, and what their code leads to."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, Module | None] = {}
        self._files: dict[str, Path | None] = {}
        self._entered_at: dict[Node, bool] = {}
        self._pieces: dict[tuple[str, str, str], Piece] = {}

    def module(self, name: str) -> Module | None:
        """A module of the project; None for any other."""
        if name not in self._modules:
            self._modules[name] = self._read(name) if name.partition(".")[0] in PACKAGES else None
        return self._modules[name]

    def add(self, name: str, file: Path) -> None:
        """Take in a module from elsewhere, such as one of the user's own."""
        if self._modules.get(name) is None:
            self._modules[name] = Module(name, ast.parse(file.read_bytes()))

    def _read(self, name: str) -> Module | None:
        file = self._file(name)
        if file is None:
            return None
        return Module(name, ast.parse(file.read_bytes()), file.name == "__init__.py")

    def _is_module(self, name: str) -> bool:
        """Whether there is such a module of the project; it is not read."""
        if name in self._modules:
            return self._modules[name] is not None
        return name.partition(".")[0] in PACKAGES and self._file(name) is not None

    def _file(self, name: str) -> Path | None:
        if name not in self._files:
            place = self._root.joinpath(*name.split("."))
            both = (place.with_suffix(".py"), place / "__init__.py")
            self._files[name] = next((file for file in both if file.is_file()), None)
        return self._files[name]

    def version(self, nodes: Sequence[Node]) -> str:
        """Hash of all that some nodes lead to."""
        edges = self.closure(nodes)
        told = {node: self._text(node) for node in edges}
        for _ in range(_ROUNDS):  # which of two definitions of one name is meant, counts as well
            told = {
                node: _hash(told[node], *(told[one] for one in found))
                for node, found in edges.items()
            }
        return _hash(*(told[node] for node in nodes), *sorted(told.values()))[:_DIGITS]

    def closure(self, nodes: Iterable[Node]) -> dict[Node, list[Node]]:
        """Every node that some lead to, with those that it leads to directly.

        The classes and modules of `nodes` themselves are entered whatever the limits are.
        """
        waiting = list(nodes)
        asked = {(node.module, node.name) for node in waiting}
        whole = {node.module for node in waiting if node.name == _WHOLE}
        found: dict[Node, list[Node]] = {}
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found[node] = [
                one
                for one in dict.fromkeys(self._leads_to(node))
                if one.module in whole or (one.module, one.name) in asked or self._in(one)
            ]
            waiting += found[node]
        return found

    def _in(self, node: Node) -> bool:
        if node not in self._entered_at:
            self._entered_at[node] = not self._left_out(node) and self._is_module(node.module)
        return self._entered_at[node]

    def _left_out(self, node: Node) -> bool:
        """Whether a node only moves results about; see `code_limits`."""
        module = self._listed(node.module)
        whole = f"{module}:{node.name}"
        within = f"{whole}.{node.member}" if node.member else whole
        if within in ENTERED_ALL_THE_SAME:
            return False
        parts = module.split(".")
        around = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        return not NOT_PART_OF_RESULTS.keys().isdisjoint({whole, within} | around)

    def _listed(self, module: str) -> str:
        """The name that the limits know a module by, which may have moved since."""
        if module in self._moved:
            return self._moved[module]
        parts = module.split(".")
        for place, part in enumerate(parts[:-1]):
            if part in self._moved_folders:
                return ".".join([self._moved_folders[part], *parts[place + 1 :]])
        return module

    @cached_property
    def _gone(self) -> list[str]:
        """Modules and folders of the limits that are no longer where these say."""
        listed = {one.partition(":")[0] for one in (*NOT_PART_OF_RESULTS, *ENTERED_ALL_THE_SAME)}
        return sorted(one for one in listed if not self._there(one))

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """All modules by the end of their name."""
        found: dict[str, list[str]] = {}
        for package in sorted(PACKAGES):
            for path in sorted((self._root / package).rglob("*.py")):
                name = ".".join(path.relative_to(self._root).with_suffix("").parts)
                found.setdefault(path.stem, []).append(name)
        return found

    @cached_property
    def _moved(self) -> dict[str, str]:
        """Where modules of the limits lie now: of those of the same name, the nearest."""
        found: dict[str, str] = {}
        for one in self._gone:
            places = self._by_end.get(one.rpartition(".")[2], [])
            if places:
                found[max(places, key=lambda place: _shared(place, one))] = one
        return found

    @cached_property
    def _moved_folders(self) -> dict[str, str]:
        """Folders of the limits by the end of their name: no module has it."""
        ends = {one.rpartition(".")[2]: one for one in self._gone}
        return {end: one for end, one in ends.items() if end not in self._by_end}

    def _there(self, name: str) -> bool:
        return self._file(name) is not None or self._root.joinpath(*name.split(".")).is_dir()

    def _piece(self, module: Module, name: str, member: str = "") -> Piece:
        """A definition, read; a class without `member` is its head: bases and attributes."""
        at = (module.name, name, member)
        if at not in self._pieces:
            one = module.classes(name)
            body: list[ast.stmt] = module.defined[name]
            if one is not None:
                body = module.members(name)[member] if member else [head_of(one)]
            self._pieces[at] = read(
                body,
                lambda known: self._target(module, known),
                self._entered,
                method=bool(member),
                head=one is not None and not member,
            )
        return self._pieces[at]

    def _entered(self, target: Imported) -> str:
        """The dotted name of the module that something imported is; empty where it is none."""
        if not target.name:
            return target.module if self._is_module(target.module) else ""
        found = self._resolved(target.module, target.name)
        return found.module if found is not None and found.name == _WHOLE else ""

    def _text(self, node: Node) -> str:
        module = self._known(node.module)
        if node.name == _WHOLE:
            return _WHOLE
        if not node.member:
            return self._piece(module, node.name).text
        holder = self._holder(node)
        return self._piece(*holder, node.member).text if holder else ""

    def _leads_to(self, node: Node) -> Iterator[Node]:
        module = self._known(node.module)
        if node.name == _WHOLE:
            yield from (Node(module.name, name) for name in module.defined)
            return
        if node.member:
            holder = self._holder(node)
            if holder is not None:
                piece = self._piece(*holder, node.member)
                yield from self._uses(piece, holder[0], node, holder[1])
            return
        yield from self._uses(self._piece(module, node.name), module, node, node.name)
        line = self._line(node)
        planned = any(one.name in PLANNING_BASES for one in line)
        for name in {name: 0 for one in line for name in self._known(one.module).members(one.name)}:
            if not (planned and name in PLANNING_MEMBERS):
                yield Node(node.module, node.name, name)

    def _uses(self, piece: Piece, module: Module, node: Node, holder: str) -> Iterator[Node]:
        for target in piece.uses:
            yield from self._meaning(target)
        own = Node(node.module, node.name)
        for chain in piece.own:
            yield from self._along(own, chain)
        for name in piece.above:
            yield from self._above(own, Node(module.name, holder), name)
        for annotation, chain in piece.typed:
            typed = self._class_of(annotation, module)
            if typed is not None:
                yield from self._along(typed, chain)

    def _meaning(self, target: tuple[str, str]) -> Iterator[Node]:
        """What an imported or defined name means, by way of modules that pass it on."""
        found = self._resolved(*target)
        if found is not None:
            yield found

    def _resolved(self, name: str, attribute: str) -> Node | None:
        module = self.module(name)
        if module is None:
            return None
        if attribute == _WHOLE or attribute in module.defined:
            return Node(name, attribute)
        if attribute in module.imported:
            onward = module.imported[attribute]
            return self._resolved(onward.module, onward.name or _WHOLE)
        inner = f"{name}.{attribute}"
        return Node(inner, _WHOLE) if self.module(inner) is not None else None

    def _target(self, module: Module, name: str) -> Imported | None:
        """What a global name of a module is: a definition of the project, or an import."""
        if name in module.defined:
            return Imported(module.name, name)
        return module.imported.get(name)

    def _class_of(self, annotation: ast.expr, module: Module) -> Node | None:
        """The first class of the project that an annotation names."""
        for name in first_class(annotation):
            known = self._target(module, name)
            found = self._resolved(known.module, known.name or _WHOLE) if known else None
            if found and self._known(found.module).classes(found.name) is not None:
                return found
        return None

    def _along(self, start: Node, chain: Sequence[str]) -> Iterator[Node]:
        """The members that `object.first.second` leads to, as far as their types are declared."""
        at: Node | None = start
        for name in chain:
            if at is None or not (at == start or self._in(Node(at.module, at.name, name))):
                return
            holder = self._holder(Node(at.module, at.name, name))
            if holder is None:
                return
            yield Node(at.module, at.name, name)
            at = self._type_of(holder, name)

    def _type_of(self, holder: tuple[Module, str], name: str) -> Node | None:
        for part in holder[0].members(holder[1]).get(name, []):
            noted = getattr(part, "annotation", None) or getattr(part, "returns", None)
            if noted is not None:
                return self._class_of(noted, holder[0])
        return None

    def _holder(self, node: Node) -> tuple[Module, str] | None:
        """The class that a member comes from: the node's own, or one of its bases."""
        for one in self._line(Node(node.module, node.name)):
            module = self._known(one.module)
            if node.member in module.members(one.name):
                return module, one.name
        return None

    def _above(self, own: Node, holder: Node, name: str) -> Iterator[Node]:
        """The member that `super().name` means in a method of `holder`."""
        line = self._line(own)
        after = line[line.index(holder) + 1 :] if holder in line else []
        for one in after:
            if name in self._known(one.module).members(one.name):
                yield Node(one.module, one.name, name)
                return

    def _line(self, node: Node) -> list[Node]:
        """A class and its bases within the project, nearest first."""
        module = self.module(node.module)
        one = module.classes(node.name) if module else None
        if module is None or one is None:
            return []
        found = [Node(node.module, node.name)]
        for base in one.bases:
            above = self._class_of(base, module)
            found += self._line(above) if above else []
        return list(dict.fromkeys(found))

    def _known(self, name: str) -> Module:
        module = self.module(name)
        assert module is not None, name
        return module


def _shared(one: str, other: str) -> int:
    """How many of the first parts of two dotted names are the same."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@cache
def project() -> Project:
    """The project that is running."""
    return Project(_ROOT)


def code_version(*sources: Source) -> str:
    """Twelve hexadecimal digits that change when what `sources` compute may change.

    Args:
        sources: modules, classes, functions or methods, of this project or not. Of another one the
            source of the module counts as far as `sources` lead to, and what it uses of this one.
    """
    return _version(sources)


def _version_of(nodes: Sequence[Node]) -> str:
    """As `Project.version`, remembered between processes where all is of this project."""
    if any(node.module.partition(".")[0] not in PACKAGES for node in nodes):
        return project().version(nodes)
    key = " ".join(f"{node.module}:{node.name}.{node.member}" for node in nodes)
    return project_versions().version(key, lambda: project().version(nodes))


@cache
def _version(sources: tuple[Source, ...]) -> str:
    nodes = [_node(source) for source in sources]
    inner = [one for one in nodes if isinstance(one, Node)]
    plain = [one for one in nodes if isinstance(one, str)]
    return _hash(*plain, _version_of(inner))[:_DIGITS] if plain else _version_of(inner)


@cache
def method_version(kind: type, *methods: str, sources: tuple[Source, ...] = ()) -> str:
    """As `code_version`, of what some methods of a class lead to, as called on its instances.

    Args:
        kind: the class. Of one from outside the project all of its module counts as well.
        methods: names of methods.
        sources: what else decides the result.
    """
    _take_in(sys.modules[kind.__module__])
    nodes = [Node(kind.__module__, kind.__qualname__, name) for name in methods]
    if kind.__module__.partition(".")[0] not in PACKAGES:
        nodes.append(Node(kind.__module__, _WHOLE))
    own = _version_of(nodes)
    return _hash(own, code_version(*sources))[:_DIGITS] if sources else own


def _node(source: Source) -> Node | str:
    """The node of an object; the text of its tree where it is defined within a function."""
    if isinstance(source, ModuleType):
        _take_in(source)
        return Node(source.__name__, _WHOLE)
    source = inspect.unwrap(source)
    name, _, member = source.__qualname__.partition(".")
    if "<locals>" in source.__qualname__ or "." in member:
        tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
        without_docstrings(tree)
        return ast.dump(tree)
    _take_in(sys.modules[source.__module__])
    return Node(source.__module__, name, member)


def _take_in(module: ModuleType) -> None:
    if module.__name__.partition(".")[0] not in PACKAGES:
        project().add(module.__name__, Path(inspect.getsourcefile(module) or str(module.__file__)))
