"""What the figures of land cover count."""

from benchmarks.land_cover import covers, summary
from dnd_assets.results.unit_card.card import MethodLabel, UnitCard


def test_covers_that_a_label_names():
    assert covers("almonds or grapes") == {"almond", "grape"}
    assert covers("cropland") == {"fallow cropland"}
    assert covers("not almonds") == set()


def card(unit, label, pixels, *, clear):
    methods = (
        MethodLabel("labels", "ok", "", label=label, score=None),
        MethodLabel("network_dissection_labels", "ok", "", label=pixels, score=0.1,
                    interpretable=clear),
    )  # fmt: skip
    return UnitCard(unit, "net", "layer", 0, methods)


def test_counts_by_hand():
    cards = [
        card("a", "almonds or grapes", "almonds", clear=True),
        card("b", "grapes", "almonds", clear=False),
        card("c", None, "grapes", clear=False),
    ]
    first, second, third = summary(cards)
    assert first.startswith("2 of 3 units have a label")
    assert "in 1 of 2 labels; it finds 1 of 3 units interpretable" in second
    assert third == "INVERT: its best cover is in 0 of 0 labels"
