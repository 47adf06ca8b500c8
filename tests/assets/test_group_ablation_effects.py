"""What classes lose without groups that the study names: the asset, and what readers show of it."""

import pytest

from dnd_assets.analysis.group_ablation import ablate
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.errors import NotFoundError
from dnd_assets.report.entries import entry_of
from dnd_assets.report.pages import unit_page
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.run import observe
from tests.assets.test_ablation_effects import ASSET as SINGLE
from tests.assets.test_ablation_effects import folder, table
from tests.command_line import dnd, toml
from tests.studies import label_alone, versions

__all__ = ["folder"]
ASSET = "group_ablation_effects"
GROUPS = {"warm": ["net/colours/0-1"], "leaf": ["net/colours/1"]}
SECTION = {"how": "zero", "classes": "classes.csv", "groups": GROUPS, "random_groups": 0}


def ablated(colours, place, home="state", units=(), **section):
    study = parse_study(table(colours, **(SECTION | section)), place)
    return label_alone(study, place / home, ASSET, units)


def groups_of(found, neuron):
    payload = found[ASSET, f"net/colours/{neuron}"].product.payload
    return {group["name"]: group for group in payload["groups"]}


def test_a_unit_tells_what_is_lost_without_each_of_its_groups(colours, folder):
    context, found = ablated(colours, folder)
    assert set(groups_of(found, 0)) == {"warm"}
    assert set(groups_of(found, 1)) == {"leaf", "warm"}
    assert groups_of(found, 2) == {}
    warm = groups_of(found, 0)["warm"]
    assert warm == groups_of(found, 1)["warm"]
    assert (warm["units"], warm["images"], warm["how"]) == (2, 12, "zero")
    changes = {one["class"]: one["accuracy"]["change"] for one in warm["classes"]}
    assert changes == {"red": -1.0, "green": -1.0, "blue": 0.0}
    leaf = {one["class"]: one["accuracy"] for one in groups_of(found, 1)["leaf"]["classes"]}
    assert {name: one["change"] for name, one in leaf.items()} == {
        "red": 0.0, "green": -1.0, "blue": 0.0,
    }  # fmt: skip
    # Two groups, each once with the whole network before it.
    assert context.tally["ablations"] == 2 * 2 * 12


def test_it_is_what_the_command_says_beside_random_groups(colours, folder):
    context, found = ablated(colours, folder, groups={"leaf": GROUPS["leaf"]}, random_groups=2)
    leaf = groups_of(found, 1)["leaf"]
    (told,) = ablate(context, find_units(context).select(GROUPS["leaf"]), random=2)
    assert leaf["accuracies"] == told["accuracies"]
    assert {one["name"]: one["beyond"]["change"] for one in leaf["accuracies"]}["green"] == -1
    assert context.tally["ablations"] == 12 * 4, "the command read it back"


def test_a_changed_group_reruns_its_units_alone(colours, folder):
    _, before = ablated(colours, folder)
    _, after = ablated(colours, folder, groups=GROUPS | {"leaf": ["net/colours/2"]})
    old, new = versions(before), versions(after)
    assert old[ASSET, "net/colours/0"] == new[ASSET, "net/colours/0"]
    assert all(old[ASSET, f"net/colours/{n}"] != new[ASSET, f"net/colours/{n}"] for n in (1, 2))


def test_the_plan_tells_what_it_takes(colours, folder):
    study = parse_study(table(colours, **SECTION), folder)
    context = build_context(study, folder / "state")
    label_alone(study, folder / "state", SINGLE)
    stages, units = stages_of(study), list(find_units(context).values())
    (planned,) = plan(context, stages, units, [ASSET], *observe(context))
    assert planned.cost == {"ablations": 2 * 2 * 12}
    ablated(colours, folder)
    again = build_context(study, folder / "state")
    (planned,) = plan(again, stages, units, [ASSET], *observe(again))
    assert planned.compute == 0


def test_without_groups_there_is_no_such_asset(colours, folder):
    study = parse_study(table(colours, how="zero"), folder)
    assert ASSET not in stages_of(study)


def test_a_group_of_no_unit_is_refused(colours, folder):
    with pytest.raises(NotFoundError, match=r"groups.none: no unit 'net/colours/9'; nearest:"):
        ablated(colours, folder, groups={"none": ["net/colours/9"]})


def test_the_atlas_shows_it_beside_the_label(colours, folder):
    context, _ = ablated(colours, folder)
    cards = Cards(context.lineage, context.store, "colours")
    card = cards.card("net/colours/1")
    assert [name for name, _ in card.groups] == ["leaf (1 unit)", "warm (2 units)"]
    page = unit_page(card, entry_of(card), lambda _: None, {}, (None, None), "colours").decode()
    assert "What it loses without groups that it is in" in page
    assert "warm (2 units)" in page
    other = cards.card("net/colours/2")
    assert other.groups == ()


def test_trace_and_export_tell_it(colours, folder):
    text = toml(table(colours, **SECTION))
    (folder / "study.toml").write_text(text)
    done = dnd(folder, "run", "net/colours/1", "--assets", f"+{ASSET}")
    assert done.exit_code == 0, done.output
    traced = dnd(folder, "trace", "net/colours/1", "--asset", ASSET)
    assert "warm: zero ablation of 2 units on 12 images, beside 0 random groups" in traced.stdout
