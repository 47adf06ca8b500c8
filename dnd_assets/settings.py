"""What all sections of a study have in common: their base, types of numbers, kinds, and checks."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any, ClassVar, Final, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.concept_sets import check_template

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Money = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

REVISION: Final = "the files that it leads to count by their content, whatever it is called"
"""Why no revision is part of a key."""


Options = dict[str, Any]
"""Settings by name, of a study or a file, whose reader checks them before they are relied on."""


class Section(BaseModel):
    """A table of the study: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def chosen(self, *names: str) -> Options:
        """Some settings by name.

        Raises:
            ValueError: when there is no such setting; pydantic would leave it out in silence.
        """
        for name in names:
            if name not in type(self).model_fields:
                nearest_names = ", ".join(nearest(name, list(type(self).model_fields)))
                section = type(self).__name__
                raise ValueError(f"{section} has no setting {name!r}; nearest: {nearest_names}")
        return self.model_dump(include=set(names))

    def all_but(self, *names: str) -> Options:
        """All settings without some.

        Raises:
            ValueError: when there is no such setting.
        """
        excluded = self.chosen(*names).keys()
        return self.model_dump(exclude=set(excluded))


class Kind(Section):
    """Settings of one kind of something: a subclass for each, told apart by `kind`.

    Attributes:
        kind: its name in the study; a subclass declares it as the only value, which is its default.
        NO_RESULT: settings that change no result, each with the reason; all others are expected to
            reach a key.
        RESTS_ON: other sections of the study that decide its results as well.
        SERVED: whether it works by calling a server, which may cost money.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = {}
    RESTS_ON: ClassVar[tuple[str, ...]] = ()
    SERVED: ClassVar[bool] = False
    kind: str

    @property
    def options(self) -> Options:
        """All settings but the kind."""
        return self.all_but("kind")


def one_of(package: str, base: type[Kind], usual: str) -> Any:
    """The kinds that a package holds, a module each, as one type that `kind` tells apart.

    Args:
        package: its name; every module in it is imported, and its subclasses of `base` are kinds.
        base: what the kinds have in common.
        usual: the kind of a section that names none.

    Returns:
        A discriminated union of the kinds, in the order of their modules' names. An option that
        only other kinds have is refused by name, unless it has their usual value.
    """
    kinds = _kinds_in(package, base)

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = value.get("kind", usual)
        kind_class = kinds.get(kind) if isinstance(kind, str) else None
        return {**(_fitting(value, kind_class, kinds) if kind_class else value), "kind": kind}

    union: Any = reduce(or_, kinds.values())
    return Annotated[union, Discriminator("kind"), BeforeValidator(read)]


def kinds_of(annotation: object) -> dict[str, type[Kind]]:
    """The kinds by name that a type made by `one_of` tells apart; empty for any other type."""
    kinds = [
        kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, Kind)
    ]
    return {_name_of(kind): kind for kind in kinds}


def _kinds_in(package: str, base: type[Kind]) -> dict[str, type[Kind]]:
    kinds: dict[str, type[Kind]] = {}
    for name in sorted(
        module_info.name for module_info in pkgutil.iter_modules(import_module(package).__path__)
    ):
        module = import_module(f"{package}.{name}")
        for member in vars(module).values():
            defined_here = isinstance(member, type) and member.__module__ == module.__name__
            if (
                not defined_here
                or not issubclass(member, base)
                or member.model_fields["kind"].is_required()
            ):
                continue
            if _name_of(member) in kinds:
                raise TypeError(f"{member} and {kinds[_name_of(member)]} are of one kind")
            kinds[_name_of(member)] = member
    return kinds


def _name_of(kind: type[Kind]) -> str:
    return str(kind.model_fields["kind"].default)


def _fitting(
    value: Mapping[str, object], kind_class: type[Kind], kinds: Mapping[str, type[Kind]]
) -> dict[str, object]:
    """A section without options of other kinds that have their usual value.

    Studies are recorded with runs; before kinds had classes of their own, all options of all kinds
    were.

    Raises:
        ValueError: for an option that says nothing to the chosen kind.
    """
    fitting = dict(value)
    for name in sorted(value.keys() - kind_class.model_fields.keys()):
        owners = {kind: owner for kind, owner in kinds.items() if name in owner.model_fields}
        defaults = [owner.model_fields[name].get_default() for owner in owners.values()]
        if owners and value[name] not in defaults:
            raise ValueError(
                f"{name} is no option of kind = {_name_of(kind_class)!r} (it belongs to "
                f"{', '.join(owners)}); leave it out"
            )
        if owners:
            del fitting[name]
    return fitting


def checked_name(name: str, kind: str) -> str:
    """Check a name of the user's that becomes part of the name of an asset or of a column.

    Raises:
        ValueError: when it is no such name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name.endswith("_labels"):
        raise ValueError(
            f"{name!r} names no {kind}; write small letters, digits and underscores, without "
            "`_labels` at the end, as in milan_published"
        )
    return name


def checked_template(value: str) -> str:
    """A text that stands for a concept, which has `{concept}` in it.

    Raises:
        ValueError: when it has not.
    """
    try:
        check_template(value)
    except StudyError as error:
        raise ValueError(str(error)) from error
    return value
