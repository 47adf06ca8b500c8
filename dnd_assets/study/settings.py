"""What all sections of a study have in common: their base, types of numbers, and checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.concept_sets import check_template

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Money = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the study: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def chosen(self, *names: str) -> dict[str, Any]:
        """Some settings by name.

        Raises:
            ValueError: when there is no such setting; pydantic would leave it out in silence.
        """
        for name in names:
            if name not in type(self).model_fields:
                close = ", ".join(nearest(name, list(type(self).model_fields)))
                what = type(self).__name__
                raise ValueError(f"{what} has no setting {name!r}; nearest: {close}")
        return self.model_dump(include=set(names))

    def all_but(self, *names: str) -> dict[str, Any]:
        """All settings without some.

        Raises:
            ValueError: when there is no such setting.
        """
        left = self.chosen(*names).keys()
        return self.model_dump(exclude=set(left))


def checked_name(name: str, what: str) -> str:
    """A name of the user's that becomes part of an asset's or a column's.

    Raises:
        ValueError: when it is no such name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name.endswith("_labels"):
        raise ValueError(
            f"{name!r} names no {what}; write small letters, digits and underscores, without "
            "`_labels` at the end, as in milan_published"
        )
    return name


def check_options(section: Any, options: Mapping[str, Sequence[str]]) -> None:
    """Refuse settings that say nothing to the chosen kind of a section."""
    usual = type(section).model_fields
    given = {name for name in usual if getattr(section, name) != usual[name].default}
    foreign = sorted(given - {*options[section.kind], "kind"})
    if foreign:
        owners = [kind for kind, names in options.items() if foreign[0] in names]
        belongs = f" (it belongs to {', '.join(owners)})" if owners else ""
        raise ValueError(
            f"{foreign[0]} is no option of kind = {section.kind!r}{belongs}; leave it out"
        )


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


def check_prices(section: Any, *prices: str) -> None:
    """Refuse a limit of cost without the prices that it takes."""
    missing = [name for name in prices if getattr(section, name) is None]
    if section.max_cost is not None and missing:
        raise ValueError(f"max_cost needs {' and '.join(missing)} too, as your server charges them")
