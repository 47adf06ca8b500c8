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
        self._entered_by_node: dict[Node, bool] = {}
        self._pieces: dict[tuple[str, str, str], Piece] = {}

    def module(self, name: str) -> Module | None:
        """A module of the project; None for any other."""
        if name not in self._modules:
            self._modules[name] = self._read(name) if name.partition(".")[0] in PACKAGES else None
        return self._modules[name]

    def add(self, name: str, file: Path) -> None:
        """Read a module from outside, such as a user's own, as if it were the project's."""
        if self._modules.get(name) is None:
            self._modules[name] = Module(name, ast.parse(file.read_bytes()))

    def _read(self, name: str) -> Module | None:
        """The module of a dotted name, parsed; None where the project has no such file."""
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
        """The source file of a module or package; None where there is none."""
        if name not in self._files:
            path = self._root.joinpath(*name.split("."))
            candidates = (path.with_suffix(".py"), path / "__init__.py")
            self._files[name] = next((file for file in candidates if file.is_file()), None)
        return self._files[name]

    def version(self, nodes: Sequence[Node]) -> str:
        """Hash of all that some nodes lead to."""
        edges = self.closure(nodes)
        texts = {node: self._text(node) for node in edges}
        for _ in range(_ROUNDS):  # which of two definitions of one name is meant, counts as well
            texts = {
                node: _hash(texts[node], *(texts[neighbour] for neighbour in neighbours))
                for node, neighbours in edges.items()
            }
        return _hash(*(texts[node] for node in nodes), *sorted(texts.values()))[:_DIGITS]

    def closure(self, nodes: Iterable[Node]) -> dict[Node, list[Node]]:
        """Every node that some lead to, with those that it leads to directly.

        The classes and modules of `nodes` themselves are entered whatever the limits are.
        """
        waiting = list(nodes)
        requested = {(node.module, node.name) for node in waiting}
        whole_modules = {node.module for node in waiting if node.name == _WHOLE}
        edges: dict[Node, list[Node]] = {}
        while waiting:
            node = waiting.pop()
            if node in edges:
                continue
            edges[node] = [
                target
                for target in dict.fromkeys(self._leads_to(node))
                if target.module in whole_modules
                or (target.module, target.name) in requested
                or self._is_entered(target)
            ]
            waiting += edges[node]
        return edges

    def _is_entered(self, node: Node) -> bool:
        """Whether a node is code of the project that may decide results."""
        if node not in self._entered_by_node:
            self._entered_by_node[node] = not self._left_out(node) and self._is_module(node.module)
        return self._entered_by_node[node]

    def _left_out(self, node: Node) -> bool:
        """Whether a node only moves results about; see `code_limits`."""
        module = self._name_in_limits(node.module)
        definition = f"{module}:{node.name}"
        member = f"{definition}.{node.member}" if node.member else definition
        if member in ENTERED_ALL_THE_SAME:
            return False
        parts = module.split(".")
        packages = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        return not NOT_PART_OF_RESULTS.keys().isdisjoint({definition, member} | packages)

    def _name_in_limits(self, module: str) -> str:
        """The name that `code_limits` has for a module, which may have moved since."""
        if module in self._old_names:
            return self._old_names[module]
        parts = module.split(".")
        for position, part in enumerate(parts[:-1]):
            if part in self._old_folders:
                return ".".join([self._old_folders[part], *parts[position + 1 :]])
        return module

    @cached_property
    def _lost_names(self) -> list[str]:
        """Modules and folders that `code_limits` names and that are not there any more."""
        listed = {
            entry.partition(":")[0] for entry in (*NOT_PART_OF_RESULTS, *ENTERED_ALL_THE_SAME)
        }
        return sorted(name for name in listed if not self._exists(name))

    @cached_property
    def _modules_by_end(self) -> dict[str, list[str]]:
        """Dotted names of all modules, by their last part."""
        modules: dict[str, list[str]] = {}
        for package in sorted(PACKAGES):
            for path in sorted((self._root / package).rglob("*.py")):
                name = ".".join(path.relative_to(self._root).with_suffix("").parts)
                modules.setdefault(path.stem, []).append(name)
        return modules

    @cached_property
    def _old_names(self) -> dict[str, str]:
        """For a module that has moved, by its present name: the name in `code_limits`.

        A lost name belongs to the module of the same last part that shares most of its folders.
        """
        old_names: dict[str, str] = {}
        for missing in self._lost_names:
            candidates = self._modules_by_end.get(missing.rpartition(".")[2], [])
            if candidates:
                old_names[max(candidates, key=lambda candidate: _shared(candidate, missing))] = (
                    missing
                )
        return old_names

    @cached_property
    def _old_folders(self) -> dict[str, str]:
        """Lost names of folders by their last part: those that no module ends with."""
        ends = {name.rpartition(".")[2]: name for name in self._lost_names}
        return {end: name for end, name in ends.items() if end not in self._modules_by_end}

    def _exists(self, name: str) -> bool:
        """Whether there is such a module or folder."""
        return self._file(name) is not None or self._root.joinpath(*name.split(".")).is_dir()

    def _piece(self, module: Module, name: str, member: str = "") -> Piece:
        """A definition, read once; of a class one member, or its head: bases and attributes."""
        key = (module.name, name, member)
        if key not in self._pieces:
            class_node = module.classes(name)
            body: list[ast.stmt] = module.defined[name]
            if class_node is not None:
                body = module.members(name)[member] if member else [head_of(class_node)]
            self._pieces[key] = read(
                body,
                lambda used: self._target(module, used),
                self._module_meant,
                method=bool(member),
                head=class_node is not None and not member,
            )
        return self._pieces[key]

    def _module_meant(self, target: Imported) -> str:
        """The dotted name of the module that something imported is; empty where it is none."""
        if not target.name:
            return target.module if self._is_module(target.module) else ""
        node = self._resolved(target.module, target.name)
        return node.module if node is not None and node.name == _WHOLE else ""

    def _text(self, node: Node) -> str:
        """The tree of a node by itself, as text; empty for a member that no class has."""
        module = self._present(node.module)
        if node.name == _WHOLE:
            return _WHOLE
        if not node.member:
            return self._piece(module, node.name).text
        holder = self._holder(node)
        return self._piece(*holder, node.member).text if holder else ""

    def _leads_to(self, node: Node) -> Iterator[Node]:
        """The nodes that a node's own code names; of a class also all its members."""
        module = self._present(node.module)
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
        classes = self._with_bases(node)
        planned = any(owner.name in PLANNING_BASES for owner in classes)
        for name in {
            name: 0 for owner in classes for name in self._present(owner.module).members(owner.name)
        }:
            if not (planned and name in PLANNING_MEMBERS):
                yield Node(node.module, node.name, name)

    def _uses(self, piece: Piece, module: Module, node: Node, holder: str) -> Iterator[Node]:
        """The nodes that a definition names, read as a part of class `holder` of `module`."""
        for target in piece.uses:
            yield from self._meaning(target)
        instance = Node(node.module, node.name)
        for chain in piece.own:
            yield from self._chain_members(instance, chain)
        for name in piece.above:
            yield from self._super_member(instance, Node(module.name, holder), name)
        for annotation, chain in piece.typed:
            typed = self._class_of(annotation, module)
            if typed is not None:
                yield from self._chain_members(typed, chain)

    def _meaning(self, target: tuple[str, str]) -> Iterator[Node]:
        """What an imported or defined name means, by way of modules that pass it on."""
        node = self._resolved(*target)
        if node is not None:
            yield node

    def _resolved(self, name: str, attribute: str) -> Node | None:
        """The definition behind an attribute of a module, through modules that import it."""
        module = self.module(name)
        if module is None:
            return None
        if attribute == _WHOLE or attribute in module.defined:
            return Node(name, attribute)
        if attribute in module.imported:
            passed_on = module.imported[attribute]
            return self._resolved(passed_on.module, passed_on.name or _WHOLE)
        submodule = f"{name}.{attribute}"
        return Node(submodule, _WHOLE) if self.module(submodule) is not None else None

    def _target(self, module: Module, name: str) -> Imported | None:
        """What a global name of a module is: a definition of the project, or an import."""
        if name in module.defined:
            return Imported(module.name, name)
        return module.imported.get(name)

    def _class_of(self, annotation: ast.expr, module: Module) -> Node | None:
        """The first class of the project that an annotation names."""
        for name in first_class(annotation):
            imported = self._target(module, name)
            node = self._resolved(imported.module, imported.name or _WHOLE) if imported else None
            if node and self._present(node.module).classes(node.name) is not None:
                return node
        return None

    def _chain_members(self, start: Node, chain: Sequence[str]) -> Iterator[Node]:
        """The members that `object.first.second` leads to, as far as their types are declared."""
        owner: Node | None = start
        for name in chain:
            if owner is None or not (
                owner == start or self._is_entered(Node(owner.module, owner.name, name))
            ):
                return
            holder = self._holder(Node(owner.module, owner.name, name))
            if holder is None:
                return
            yield Node(owner.module, owner.name, name)
            owner = self._type_of(holder, name)

    def _type_of(self, holder: tuple[Module, str], name: str) -> Node | None:
        """The class that a member is annotated with, or that a method returns."""
        for statement in holder[0].members(holder[1]).get(name, []):
            annotation = getattr(statement, "annotation", None) or getattr(
                statement, "returns", None
            )
            if annotation is not None:
                return self._class_of(annotation, holder[0])
        return None

    def _holder(self, node: Node) -> tuple[Module, str] | None:
        """The class that a member comes from: the node's own, or one of its bases."""
        for owner in self._with_bases(Node(node.module, node.name)):
            module = self._present(owner.module)
            if node.member in module.members(owner.name):
                return module, owner.name
        return None

    def _super_member(self, instance: Node, holder: Node, name: str) -> Iterator[Node]:
        """The member that `super().name` means in a method of `holder`."""
        classes = self._with_bases(instance)
        bases = classes[classes.index(holder) + 1 :] if holder in classes else []
        for base in bases:
            if name in self._present(base.module).members(base.name):
                yield Node(base.module, base.name, name)
                return

    def _with_bases(self, node: Node) -> list[Node]:
        """A class and its bases within the project, nearest first."""
        module = self.module(node.module)
        class_node = module.classes(node.name) if module else None
        if module is None or class_node is None:
            return []
        classes = [Node(node.module, node.name)]
        for base in class_node.bases:
            parent = self._class_of(base, module)
            classes += self._with_bases(parent) if parent else []
        return list(dict.fromkeys(classes))

    def _present(self, name: str) -> Module:
        """A module that is known to exist."""
        module = self.module(name)
        assert module is not None, name
        return module


def _shared(first: str, second: str) -> int:
    """How many of the first parts of two dotted names are the same."""
    pairs = zip(first.split("."), second.split("."), strict=False)
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
    in_project = [node for node in nodes if isinstance(node, Node)]
    texts = [node for node in nodes if isinstance(node, str)]
    version = _version_of(in_project)
    return _hash(*texts, version)[:_DIGITS] if texts else version


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
    version = _version_of(nodes)
    return _hash(version, code_version(*sources))[:_DIGITS] if sources else version


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
    """Let the project read a module from outside it too."""
    if module.__name__.partition(".")[0] not in PACKAGES:
        project().add(module.__name__, Path(inspect.getsourcefile(module) or str(module.__file__)))
