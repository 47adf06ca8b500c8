"""How labels of the study `land-cover` compare with the pixels of the crop map.

`python -m benchmarks.land_cover` reads what `dnd run --study land-cover` has recorded in the state
folder (`DND_HOME`), and prints for each layer: units with a label, labels and their numbers, units
that Network Dissection finds interpretable, and labels that name the cover which fits the unit's
maps best (Network Dissection) or tells its tiles best (INVERT). A label names a cover if it holds
all of the cover's words; "not …" names none. "cropland" stands for "fallow cropland", the one
cropland of the map.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import typer

from dnd_assets.engine.context_builder import build_context
from dnd_assets.home import results_folder
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import load_study

STUDY = "land-cover"
METHODS = {
    "Network Dissection": "network_dissection_labels",
    "INVERT": "invert_labels",
}
_LIKE = {"cropland": "fallow cropland"}


def covers(label: str) -> set[str]:
    """The covers that a label names, in singular."""
    if label.startswith("not "):
        return set()
    parts = re.split(r" or | and |, ", label)
    return {_LIKE.get(part, part).removesuffix("s") for part in parts}


def summary(cards: Iterable[UnitCard]) -> list[str]:
    """Lines on the units of one layer."""
    units = list(cards)
    said = [{one.asset: one for one in card.methods} for card in units]
    labels = [one["labels"].label for one in said if "labels" in one and one["labels"].label]
    told = ", ".join(f"{label} {count}" for label, count in Counter(labels).most_common())
    lines = [f"{len(labels)} of {len(units)} units have a label: {told}"]
    for name, asset in METHODS.items():
        both = [
            (one["labels"].label, one[asset])
            for one in said
            if asset in one and one[asset].label and "labels" in one and one["labels"].label
        ]
        same = sum(other.label.removesuffix("s") in covers(label) for label, other in both)
        clear = sum(bool(one[asset].interpretable) for one in said if asset in one)
        judged = f"; it finds {clear} of {len(units)} units interpretable" if clear else ""
        lines.append(f"{name}: its best cover is in {same} of {len(both)} labels{judged}")
    return lines


def main() -> None:
    """Print the figures of each layer."""
    study = load_study(STUDY)
    context = build_context(study, results_folder(), reading=True)
    cards = list(Cards(context.lineage, context.store, study.name).read())
    for layer in dict.fromkeys(card.layer for card in cards):
        typer.echo(layer)
        for line in summary(card for card in cards if card.layer == layer):
            typer.echo(f"  {line}")


if __name__ == "__main__":
    main()
