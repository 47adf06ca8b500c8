"""What a definition of a source file says and which names it uses, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_NAMING = (ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_SELF = "self"


@dataclass(frozen=True)
class Imported:
    """What a name stands for.

    Attributes:
        module: dotted name of a module.
        name: a name of it; empty for the module itself.
    """

    module: str
    name: str = ""

    @property
    def dotted(self) -> str:
        """Both in one."""
        return f"{self.module}.{self.name}" if self.name else self.module


Find = Callable[[str], Imported | None]
"""A global name of a module to what it stands for; None for builtins."""
Enter = Callable[[Imported], str]
"""Dotted name of the project's module that something imported is; empty where it is none."""


@dataclass
class Piece:
    """A definition, read.

    Attributes:
        text: its tree; what it uses of the project goes by the name of the definition.
        uses: modules and names of the project that it uses; the name is `*` for all of a module.
        own: chains of attributes of its own instance, such as `("context", "pictures")`.
        above: members that it calls by `super()`.
        typed: annotation of a parameter, and a chain of attributes of that.
    """

    text: str = ""
    uses: list[tuple[str, str]] = field(default_factory=list)
    own: list[tuple[str, ...]] = field(default_factory=list)
    above: list[str] = field(default_factory=list)
    typed: list[tuple[ast.expr, tuple[str, ...]]] = field(default_factory=list)


def read(
    body: Sequence[ast.stmt], find: Find, enter: Enter, *, method: bool = False, head: bool = False
) -> Piece:
    """Read statements of a module or of a class.

    Args:
        body: the statements.
        find: tells what global names stand for.
        enter: tells which of these are modules of the project.
        method: whether they are members of a class, whose first parameter is its instance.
        head: whether they are a class without its methods.
    """
    reader = _Reader(find, enter, method=method, head=head)
    reader.piece.text = "\n".join(reader.text(statement) for statement in body)
    return reader.piece


class _Reader:
    """Writes a tree as text and notes the names in it, with Python's rules of scope."""

    def __init__(self, find: Find, enter: Enter, *, method: bool, head: bool) -> None:
        self.piece = Piece()
        self._find, self._enter = find, enter
        self._method, self._head = method, head
        self._scopes: list[Mapping[str, Imported | ast.expr | str | None]] = []

    def text(self, node: object) -> str:
        """A node, a list of nodes or a plain value as text."""
        if isinstance(node, list):
            return "[" + ",".join(filter(None, map(self.text, node))) + "]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            return ""
        if isinstance(node, _SCOPES):
            return self._scope(node)
        if isinstance(node, _COMPREHENSIONS):
            return self._comprehension(node)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            return node.id
        if isinstance(node, ast.Name | ast.Attribute):
            return self._chain(node)
        return f"arg({node.arg})" if isinstance(node, ast.arg) else self._by_fields(node)

    def _by_fields(self, node: ast.AST, left_out: Iterable[str] = ("ctx", "type_comment")) -> str:
        if isinstance(node, ast.AnnAssign):  # in the head of a class they say what its fields are
            annotated = self._head and len(self._scopes) == 1
            target, value = self.text(node.target), self.text(node.value)
            return f"{ast.dump(node.annotation) if annotated else ''}AnnAssign({target},{value})"
        fields = [self.text(value) for name, value in ast.iter_fields(node) if name not in left_out]
        return f"{type(node).__name__}({','.join(fields)})"

    def _scope(self, node: ast.AST) -> str:
        """A function, a lambda or a class; what decorates it belongs to the scope around."""
        outer = ("decorator_list", "bases", "keywords")
        texts = [self.text(getattr(node, name)) for name in outer if name in node._fields]
        if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            texts += [self.text(node.args.defaults), self.text(node.args.kw_defaults)]
        names = _bound(node)
        if isinstance(node, _FUNCTIONS) and self._method and not self._scopes:
            names |= _instance(node)
        self._scopes.append(names)
        read_apart = (*outer, "returns", "type_comment", "type_params")
        texts += [
            self._part(node, name, value)
            for name, value in ast.iter_fields(node)
            if name not in read_apart
        ]
        self._scopes.pop()
        return f"{type(node).__name__}({','.join(texts)})"

    def _part(self, node: ast.AST, name: str, value: object) -> str:
        if isinstance(value, ast.arguments):
            return self._by_fields(value, left_out={"defaults", "kw_defaults"})
        if name == "body" and isinstance(value, list) and _has_docstring(value):
            value = value[1:]
        return self.text(value)

    def _comprehension(self, node: Any) -> str:
        outermost = self.text(node.generators[0].iter)
        self._scopes.append(dict.fromkeys(_stored(node.generators)))
        text = self._by_fields(node)
        self._scopes.pop()
        return f"{outermost}:{text}"

    def _chain(self, node: ast.Name | ast.Attribute) -> str:
        """A name with the attributes after it."""
        names: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            names.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            return self._named(base.id, tuple(names))
        if names and _is_super(base):
            self.piece.above.append(names[0])
        return f"{self.text(base)}.{'.'.join(names)}"

    def _named(self, name: str, chain: tuple[str, ...]) -> str:
        binding = next((scope[name] for scope in reversed(self._scopes) if name in scope), _Global)
        if binding is _Global:
            binding = self._find(name)
        if isinstance(binding, Imported):
            return self._imported(binding, chain)
        if chain and binding == _SELF:
            self.piece.own.append(chain)
        elif chain and isinstance(binding, ast.expr):
            self.piece.typed.append((binding, chain))
        return ".".join((name, *chain))

    def _imported(self, imported: Imported, chain: tuple[str, ...]) -> str:
        module = self._enter(imported)
        while module and chain:
            imported, chain = Imported(module, chain[0]), chain[1:]
            module = self._enter(imported)
        if module:
            self.piece.uses.append((module, "*"))
            return "@*"
        if self._enter(Imported(imported.module)):
            self.piece.uses.append((imported.module, imported.name))
            return ".".join((f"@{imported.name}", *chain))
        return ".".join((f"&{imported.dotted}", *chain))


class _Global:
    """Marks a name that no function binds."""


def imports_of(
    statement: ast.Import | ast.ImportFrom, module: str = "", *, package: bool = False
) -> dict[str, Imported]:
    """The names that an import binds.

    Args:
        statement: the statement.
        module: the module that it stands in, which relative ones start from.
        package: whether that is a package's own.
    """
    if isinstance(statement, ast.Import):
        return {
            part.asname or part.name.partition(".")[0]: Imported(
                part.name if part.asname else part.name.partition(".")[0]
            )
            for part in statement.names
        }
    start = statement.module or ""
    if statement.level:
        parts = module.split(".")
        packages = parts[: len(parts) - statement.level + package]
        start = ".".join([*packages, *filter(None, [statement.module])])
    return {part.asname or part.name: Imported(start, part.name) for part in statement.names}


def _bound(node: ast.AST) -> dict[str, Imported | ast.expr | str | None]:
    """The names that a function, lambda or class binds, with what is known of them."""
    bindings: dict[str, Imported | ast.expr | str | None] = {}
    body = getattr(node, "body", [])
    for part in _within(body if isinstance(body, list) else [body]):
        if isinstance(part, ast.Import | ast.ImportFrom):
            bindings |= imports_of(part)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            bindings[part.target.id] = part.annotation
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            bindings.setdefault(part.id, None)
        elif isinstance(part, (*_FUNCTIONS, *_NAMING)) and part.name:
            bindings[part.name] = None
    for name in _declared_global(body if isinstance(body, list) else []):
        bindings.pop(name, None)
    arguments = getattr(node, "args", None)
    if isinstance(arguments, ast.arguments):
        parameters = (
            *arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg,
            arguments.kwarg,
        )  # fmt: skip
        bindings |= {
            parameter.arg: parameter.annotation for parameter in parameters if parameter is not None
        }
    return bindings


def _declared_global(body: Iterable[ast.AST]) -> list[str]:
    return [name for part in _within(body) if isinstance(part, ast.Global) for name in part.names]


def _within(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node that belongs to a scope, those of scopes within it left out."""
    for node in body:
        yield node
        if isinstance(node, _SCOPES):
            continue
        if isinstance(node, _COMPREHENSIONS):
            walrus = [inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
            yield from (named.target for named in walrus)
            continue
        yield from _within(ast.iter_child_nodes(node))


def _instance(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    """The first parameter of a method, which is its instance or its class."""
    is_static = any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod"
        for decorator in node.decorator_list
    )
    first = [*node.args.posonlyargs, *node.args.args][:1]
    return {} if is_static else {parameter.arg: _SELF for parameter in first}


def _stored(nodes: Iterable[ast.AST]) -> list[str]:
    return [
        part.id
        for node in nodes
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def first_class(annotation: ast.expr) -> Iterator[str]:
    """The names in an annotation that may be a class, in order; text in it is read as well."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return
    for part in ast.walk(annotation):
        if isinstance(part, ast.Name):
            yield part.id


def _has_docstring(body: Sequence[ast.stmt]) -> bool:
    return (
        bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def without_docstrings(tree: ast.AST) -> None:
    """Take the docstrings out of a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if _has_docstring(node.body) else node.body
