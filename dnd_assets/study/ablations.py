"""Ablations: variants of a study that differ from it in one setting.

Those of scoring functions select by scores besides: labels by detection do not depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dnd_assets.errors import not_found
from dnd_assets.study.study import Study

SEPARATOR: Final = "+"
"""Between a study's name and its variant's. No study file may have it in its name, so that the
lineage of a variant never mixes with that of a study."""


@dataclass(frozen=True)
class Ablation:
    """One setting and the value that it is given, and at most another that makes it count.

    Attributes:
        name: what the variant is called.
        section: table of the study file.
        key: setting in that table.
        value: what the setting becomes.
        by_scores: whether concepts are selected by their scores besides.
        of_world: whether it says something only of the generated world.
    """

    name: str
    section: str
    key: str
    value: bool | int | str
    by_scores: bool = False
    of_world: bool = False

    @property
    def settings(self) -> tuple[tuple[str, str, bool | int | str], ...]:
        """All that it sets: table, setting and value."""
        setting = (self.section, self.key, self.value)
        return (setting, _BY_SCORES) if self.by_scores else (setting,)

    def __str__(self) -> str:
        """The settings as the study file would have them."""
        return ", ".join(
            f"{section}.{key} = {_as_written(value)}" for section, key, value in self.settings
        )

    def changes(self, study: Study) -> bool:
        """Whether the study has another value for any of these settings."""
        if self.of_world and study.probing_set.world is None:
            return False
        return any(
            getattr(getattr(study, section), key) != value for section, key, value in self.settings
        )

    def of(self, study: Study) -> Study:
        """The study with these settings, checked anew, called `<study>+<name>`.

        Relative paths go on starting from the folder of the study's file.
        """
        table: dict[str, Any] = study.model_dump()
        for section, key, value in self.settings:
            # Another kind has other settings.
            table[section] = {**({} if key == "kind" else table[section]), key: value}
        changed = Study.model_validate({**table, "folder": study.folder})
        return changed.model_copy(update={"name": f"{study.name}{SEPARATOR}{self.name}"})


_BY_SCORES: Final = ("dissection", "select", "scores")


def _as_written(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


NAMED: Final = {
    entry.name: entry
    for entry in (
        Ablation("no-crops", "dissection", "crop", value=False),
        Ablation("paper-selection", "dissection", "select", "scores"),
        Ablation("no-selection", "dissection", "select", "first"),
        Ablation("no-summariser", "summariser", "kind", "none"),
        # What a perfect painter would paint.
        Ablation("renderer", "text_to_image", "kind", "world", of_world=True),
        Ablation("mean-rank", "dissection", "scoring", "mean_rank", by_scores=True),
        Ablation("topk-squared", "dissection", "scoring", "topk_squared", by_scores=True),
        Ablation("image-products", "dissection", "scoring", "image_products", by_scores=True),
        Ablation(
            "topk-squared-image-products",
            "dissection",
            "scoring",
            "topk_squared_image_products",
            by_scores=True,
        ),
    )
}
"""Ablations with a name of their own, by name."""
_NUMBERED: Final = {"k": "exemplars", "nc": "candidates", "q": "images_per_concept"}
"""K, N_c and Q: a letter and a number, such as `k5`."""


def ablation(name: str) -> Ablation:
    """The ablation called `name`: a named one, or `k5`, `nc3`, `q20` for values of K, N_c, Q.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name in NAMED:
        return NAMED[name]
    match = re.fullmatch(r"(k|nc|q)([1-9][0-9]{0,5})", name)
    if match is None:
        examples = [f"{letter}5" for letter in _NUMBERED]
        raise not_found("ablation", name, [*NAMED, *examples], "A number may follow k, nc and q.")
    return Ablation(name, "dissection", _NUMBERED[match[1]], int(match[2]))


def variants(study: Study, names: Iterable[str]) -> dict[str, Study]:
    """The study under each of some ablations, by the ablation's name, in the given order.

    A name that comes twice counts once.

    Raises:
        NotFoundError: for a name that is no ablation's; names the nearest.
    """
    return {name: ablation(name).of(study) for name in names}


def differing(study: Study) -> list[str]:
    """The named ablations that change the study, each to other settings than those before it."""
    distinct: dict[str, Study] = {}
    for name, named_ablation in NAMED.items():
        changed = named_ablation.of(study).model_copy(update={"name": study.name})
        if named_ablation.changes(study) and changed not in distinct.values():
            distinct[name] = changed
    return list(distinct)
