"""Readers give what the present settings lead to, or say that it was made under others."""

import shutil
import warnings

import pytest

import dnd_assets
from dnd_assets.engine.context_builder import build_context
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.trace import trace
from dnd_assets.results.labels import labels
from dnd_assets.results.standing import Standing, newest_study, stand_by
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from resources.lineage_db.database import Lineage
from tests.studies import changed, label

UNIT = "net/colours/0"


@pytest.fixture
def two(labelled, colours, tmp_path):
    """Two studies of one name in one state folder: the first labels three times, then one label."""
    shutil.copytree(labelled[0], tmp_path / "copy")
    folder = tmp_path / "copy"
    label(colours, folder, run="first")
    other = changed(colours, dissection__labels=1, dissection__scoring="mean_rank")
    label(other, folder, run="other")
    return folder, parse_study(colours, folder), parse_study(other, folder)


def _lineage(folder, study=None):
    lineage = Lineage(root=str(folder / "state"))
    return lineage, (stand_by(lineage, study) if study else None)


def _kept(lineage, study):
    """How many labels each reader shows of one unit."""
    card = Cards(lineage, None, study.name)
    records = [r for part in TableSource(lineage, study.name).records("labels") for r in part]
    mine = next(one for one in records if one.unit == UNIT)
    table = labels(lineage, study.name).set_index("unit")
    return {
        "trace": trace(lineage.query, study.name, UNIT).steps["labels"].record["run"],
        "export": mine.run,
        "labels": table.loc[UNIT, "run"],
        "explain": pair(lineage.query, study.name, "labels", UNIT)[1].run,
        "views": lineage.query("SELECT run FROM labels WHERE unit = ?", [UNIT])[0]["run"],
        "card": lineage.products([card.records[UNIT]["labels"].key])
        .popitem()[1]
        .preimage["parameters"]["labels"],
    }


def test_readers_give_what_the_present_settings_lead_to(two):
    folder, first, other = two
    for study, run, kept in ((first, "first", 3), (other, "other", 1)):
        lineage, standing = _lineage(folder, study)
        assert standing.notice() == ""
        found = _kept(lineage, study)
        assert found.pop("card") == kept
        assert set(found.values()) == {run}, found


def test_without_anything_of_the_present_settings_the_newest_is_shown_and_said_to_differ(
    two, colours
):
    folder, _, _ = two
    third = parse_study(changed(colours, dissection__labels=2), folder)
    lineage, standing = _lineage(folder, third)
    assert set(_kept(lineage, third).values()) - {1} == {"other"}
    notice = standing.notice(["labels"])
    assert "8 of labels" in notice
    assert "run other" in notice
    assert "dissection.labels = 1, now 2" in notice
    assert "dnd run" in notice
    assert standing.notice(["captions"]) == "", "what decides captions is the same"


@pytest.mark.parametrize(
    ("change", "value", "stands"),
    [
        ("description", "other words", True),
        ("dissection__labels", 2, False),
        ("captioner__max_new_tokens", 5, False),
        ("compute__batch__target", 2, True),
        ("compute__dtype", "bfloat16", False),
        ("milan__top", 2, True),
        ("probing_set__max_pixels", 10_000, False),
        ("probing_set__folders", ["other images"], False),
        ("summariser__timeout_s", 5.0, True),
    ],
)
def test_only_settings_that_decide_the_labels_count(labelled, colours, change, value, stands):
    folder, _ = labelled
    study = parse_study(changed(colours, **{change: value}), folder)
    assert (
        Standing(Lineage(root=str(folder / "state")), study).stands(
            "run", "labels", "net", "colours"
        )
        == stands
    )


def test_another_layer_or_model_more_changes_nothing_for_the_others(labelled, colours):
    folder, _ = labelled
    table = changed(colours)
    table["models"][0]["layers"] = [{"path": "colours"}]
    table["models"].append({**table["models"][0], "name": "another"})
    standing = Standing(Lineage(root=str(folder / "state")), parse_study(table, folder))
    assert standing.stands("run", "labels", "net", "colours")
    table["models"][0]["layers"] = [{"path": "colours", "pooling": "max"}]
    standing = Standing(Lineage(root=str(folder / "state")), parse_study(table, folder))
    assert not standing.stands("run", "labels", "net", "colours")


def test_studies_of_one_text_in_two_folders_are_two(labelled, colours, tmp_path):
    folder, _ = labelled
    here, there = parse_study(colours, folder), parse_study(colours, tmp_path)
    lineage = Lineage(root=str(folder / "state"))
    assert Standing(lineage, here).notice() == ""
    assert "probing_set.folders" in Standing(lineage, there).notice(["labels"])


def test_the_notebook_gives_what_the_newest_run_led_to_for_a_bare_name(two, monkeypatch):
    folder, _, _ = two
    monkeypatch.setenv("DND_HOME", str(folder / "state"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dnd_assets.open("colours").labels().set_index("unit").loc[UNIT, "run"] == "other"
    assert newest_study(Lineage(root=str(folder / "state")), "colours").dissection.labels == 1


def test_a_run_sees_what_was_announced_last_whatever_readers_prefer(two):
    from dnd_assets.engine.plan import newest_keys

    folder, first, _ = two
    context = build_context(first, folder / "state")
    before = newest_keys(context, "labels")
    stand_by(context.lineage, first)
    assert newest_keys(context, "labels") == before
