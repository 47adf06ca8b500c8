"""Labels from image-level truth: the assets, their tables, and what readers show of them."""

import pytest

from dnd_assets.errors import StudyError
from dnd_assets.report.entries import entry_of
from dnd_assets.report.pages import unit_page
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.image_concepts import concept_table
from dnd_assets.study.study import parse_study
from tests.command_line import dnd, toml
from tests.networks import BLUE, DEAD, GREEN, RED
from tests.studies import changed, label_alone, versions, write_images

INVERT, LINEAR = "image_invert_labels", "linear_explanation_labels"
NAMES = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path):
    """Eighteen squares, red, green and blue in turn; red and green ones are warm."""
    write_images(tmp_path / "images", 18)
    rows = [f"{i:03d}.png,{NAMES[i % 3]} square" for i in range(18)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,concept", *rows]) + "\n")
    told = ["red square,warm", "green square,warm; natural", "warm,colour"]
    (tmp_path / "parents.csv").write_text("\n".join(["concept,parent", *told]) + "\n")
    return tmp_path


def table(colours, **section):
    section = {"file": "labels.csv", "parents": "parents.csv"} | section
    return changed(colours, image_labels=section)


def labelled(colours, folder, asset, home="state", **section):
    study = parse_study(table(colours, **section), folder)
    context, found = label_alone(study, folder / home, asset)
    colour = {one.unit.neuron: one for one in found.values() if one.unit.layer == "colours"}
    return context, {unit: one.product.outcome for unit, one in colour.items()}, found


def test_invert_names_the_concept_of_each_unit_with_its_p_value(colours, folder):
    _, found, _ = labelled(colours, folder, INVERT)
    for unit, name in ((RED, "red square"), (GREEN, "green square"), (BLUE, "blue square")):
        payload = found[unit].payload
        assert (payload["label"], payload["score"]) == (name, 1.0)
        assert payload["significant"]
        assert payload["labels"][0]["images"] == 6
        assert 0 < payload["labels"][0]["p_value"] < payload["labels"][0]["adjusted"] < 0.01
    assert found[DEAD].status == "dead"


def test_what_is_above_a_concept_holds_for_its_images(colours, folder):
    _, found, _ = labelled(colours, folder, INVERT, top=10)
    by_name = {one["label"]: one for one in found[BLUE].payload["labels"]}
    assert by_name["colour"]["images"] == 12, "red and green ones; warm are the same images"
    assert by_name["green square"]["images"] == 6
    plain = labelled(colours, folder, INVERT, "other", parents=None)[1][BLUE].payload["labels"]
    assert {one["label"] for one in plain} == {f"{name} square" for name in NAMES}


def test_a_linear_explanation_predicts_held_out_images(colours, folder):
    _, found, _ = labelled(colours, folder, LINEAR, parents=None)
    for unit, name in ((RED, "red square"), (GREEN, "green square"), (BLUE, "blue square")):
        payload = found[unit].payload
        assert payload["labels"][0]["label"] == name
        assert payload["labels"][0]["score"] > 0
        assert payload["score"] > 0.7
        assert name in payload["label"]
    assert found[DEAD].status == "dead"


def test_images_without_a_concept_are_left_out_and_a_changed_row_counts(colours, folder):
    _, _, first = labelled(colours, folder, INVERT)
    rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(rows[:-3]) + "\n")
    _, found, second = labelled(colours, folder, INVERT)
    assert found[RED].payload["labels"][0]["images"] == 5
    assert not any(one.record.reused for one in second.values())
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    _, _, third = labelled(colours, folder, INVERT)
    assert all(one.record.reused for one in third.values())
    assert versions(third) == versions(first)


def test_company_changes_no_label(colours, folder):
    _, _, every = labelled(colours, folder, LINEAR)
    study = parse_study(table(colours), folder)
    _, one = label_alone(study, folder / "alone", LINEAR, ["net/colours/2"])
    assert versions(one).items() <= versions(every).items()


@pytest.mark.parametrize(
    ("labels", "parents", "said"),
    [
        ("file,concept\n000.png,\n", None, "names no file with a concept"),
        ("file,concept\n000.png,red\n", "concept,parent\nred,red\n", "'red' is a kind of 'red'"),
    ],
)
def test_tables_that_say_nothing_or_go_in_a_circle_are_refused(
    colours, folder, labels, parents, said
):
    (folder / "labels.csv").write_text(labels)
    if parents:
        (folder / "parents.csv").write_text(parents)
    study = parse_study(table(colours, parents="parents.csv" if parents else None), folder)
    with pytest.raises(StudyError, match=said):
        concept_table(study)


def test_a_table_of_other_images_is_refused_and_an_empty_range_too(colours, folder):
    (folder / "labels.csv").write_text("file,concept\nelsewhere.png,red\n")
    with pytest.raises(StudyError, match=r"'elsewhere\.png', and none of the 18 probing images"):
        labelled(colours, folder, INVERT)
    with pytest.raises(StudyError, match="no concept would be left"):
        parse_study(table(colours, min_share=0.5, max_share=0.5), folder)


def test_traces_tables_and_the_atlas_show_them(colours, folder):
    context, _, _ = labelled(colours, folder, INVERT)
    labelled(colours, folder, LINEAR)
    (folder / "study.toml").write_text(toml(table(colours)))
    told = dnd(folder, "trace", "net/colours/0", "--asset", INVERT).output
    assert "AUC 1.0000  red square" in told
    assert "adjusted, 6 images" in told
    told = dnd(folder, "trace", "net/colours/0", "--asset", LINEAR).output
    assert "on images that had no part in it" in told
    source = TableSource(context.lineage, context.study.name)
    parts = source.batches(INVERT, [source.table("label_ranking")])
    rows = [row for one in parts for row in one.by_table["label_ranking"]]
    assert ("red square", 1.0) in {(row["label"], row["score"]) for row in rows}
    card = Cards(context.lineage, context.store, context.study.name).card("net/colours/0")
    page = unit_page(card, entry_of(card), lambda _hash: None, {}, (None, None), "colours").decode()
    assert page.count("red square") >= 2
