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
        self._sort(self.tree.body)

    def _sort(self, body: Iterable[ast.stmt]) -> None:
        """Sort statements by the names that they define or alter."""
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imported |= imports_of(statement, self.name, package=self.package)
            elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.defined.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.If | ast.Try | ast.With):
                self._sort(_nested(statement))
            else:
                for name in _changed_names(statement):
                    self.defined.setdefault(name, []).append(statement)

    def classes(self, name: str) -> ast.ClassDef | None:
        """The class of that name, if there is one."""
        statements = self.defined.get(name, [])
        return next(
            (statement for statement in statements if isinstance(statement, ast.ClassDef)), None
        )

    def members(self, name: str) -> dict[str, list[ast.stmt]]:
        """Methods and attributes of a class, by name; none where there is no such class."""
        if name not in self._members:
            class_node = self.classes(name)
            self._members[name] = _members(class_node) if class_node is not None else {}
        return self._members[name]


def head_of(class_node: ast.ClassDef) -> ast.ClassDef:
    """A class without its methods."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = [part for part in class_node.body if not isinstance(part, functions)]
    return ast.ClassDef(
        class_node.name, class_node.bases, class_node.keywords, body, class_node.decorator_list
    )


def _members(class_node: ast.ClassDef) -> dict[str, list[ast.stmt]]:
    members: dict[str, list[ast.stmt]] = {}
    for statement in class_node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            members.setdefault(statement.name, []).append(statement)
        else:
            for name in _changed_names(statement):
                members.setdefault(name, []).append(statement)
    return members


def _nested(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements directly within a compound one, such as `if` or `try`."""
    for _, value in ast.iter_fields(statement):
        for part in value if isinstance(value, list) else ():
            if isinstance(part, ast.stmt):
                yield part
            elif isinstance(part, ast.ExceptHandler):
                yield from part.body


def _changed_names(statement: ast.stmt) -> list[str]:
    """Names of the module that a statement binds, or whose values it changes in place."""
    names = [
        part.id
        for part in ast.walk(statement)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    targets = (
        [statement.value] if isinstance(statement, ast.Expr) else getattr(statement, "targets", [])
    )
    for part in targets:
        target = part.func if isinstance(part, ast.Call) else part
        while isinstance(target, ast.Attribute | ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name) and target is not part:
            names.append(target.id)
    return list(dict.fromkeys(names))
