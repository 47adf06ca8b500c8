"""Source files taken apart by the names that they define, and classes by their members."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dnd_assets.lineage.code_names import Imported, imports_of


@dataclass(frozen=True)
class Node:
    """A piece of code that can be reached.

    Attributes:
        module: dotted name of the module that holds it.
        name: a name of the module; `*` for all of them.
        member: a method or attribute of the class `name`, looked up as on its instances; empty
            for the whole of `name`.
    """

    module: str
    name: str
    member: str = ""


@dataclass
class Module:
    """A source file, taken apart by the names that it defines.

    Attributes:
        name: dotted name.
        tree: its syntax tree.
        package: whether it is a package's `__init__`.
    """

    name: str
    tree: ast.Module
    package: bool = False
    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, Imported] = field(default_factory=dict)
    _members: dict[str, dict[str, list[ast.stmt]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._take(self.tree.body)

    def _take(self, body: Iterable[ast.stmt]) -> None:
        """Sort statements by the names that they define or alter."""
        for one in body:
            if isinstance(one, ast.Import | ast.ImportFrom):
                self.imported |= imports_of(one, self.name, package=self.package)
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.defined.setdefault(one.name, []).append(one)
            elif isinstance(one, ast.If | ast.Try | ast.With):
                self._take(_inner(one))
            else:
                for name in _altered(one):
                    self.defined.setdefault(name, []).append(one)

    def classes(self, name: str) -> ast.ClassDef | None:
        """The class of that name, if there is one."""
        found = self.defined.get(name, [])
        return next((one for one in found if isinstance(one, ast.ClassDef)), None)

    def members(self, name: str) -> dict[str, list[ast.stmt]]:
        """Methods and attributes of a class, by name; none where there is no such class."""
        if name not in self._members:
            one = self.classes(name)
            self._members[name] = _members(one) if one is not None else {}
        return self._members[name]


def head_of(one: ast.ClassDef) -> ast.ClassDef:
    """A class without its methods."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    rest = [part for part in one.body if not isinstance(part, functions)]
    return ast.ClassDef(one.name, one.bases, one.keywords, rest, one.decorator_list)


def _members(one: ast.ClassDef) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for part in one.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.setdefault(part.name, []).append(part)
        else:
            for name in _altered(part):
                found.setdefault(name, []).append(part)
    return found


def _inner(one: ast.stmt) -> Iterator[ast.stmt]:
    for _, value in ast.iter_fields(one):
        for part in value if isinstance(value, list) else ():
            if isinstance(part, ast.stmt):
                yield part
            elif isinstance(part, ast.ExceptHandler):
                yield from part.body


def _altered(one: ast.stmt) -> list[str]:
    """Names of the module that a statement binds, or whose values it changes in place."""
    names = [
        part.id
        for part in ast.walk(one)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    changed = [one.value] if isinstance(one, ast.Expr) else getattr(one, "targets", [])
    for part in changed:
        inner = part.func if isinstance(part, ast.Call) else part
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner is not part:
            names.append(inner.id)
    return list(dict.fromkeys(names))
