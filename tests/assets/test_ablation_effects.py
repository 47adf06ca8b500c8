"""What classes lose without a unit: the asset, the command, and what readers show of both."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.errors import StudyError
from dnd_assets.report.entries import entry_of
from dnd_assets.report.pages import unit_page
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.results.unit_card.html import card_html
from dnd_assets.study.study import parse_study
from tests.classifiers import SHARPNESS
from tests.command_line import dnd, toml
from tests.networks import BLUE, DEAD, GREEN, RED
from tests.studies import changed, label_alone, versions, write_images

ASSET = "ablation_effects"
NAMES = ["red", "green", "blue"]


def table(colours, source="classifiers:colour_classifier", **section):
    found = changed(colours, ablation=section)
    layers = [{"path": "colours"}]
    found["models"] = [{"name": "net", "source": f"module:tests.{source}", "layers": layers}]
    return found


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images", 12)
    rows = [{"file": f"{i:03d}.png", "class": NAMES[i % 3]} for i in range(12)]
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "class"])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def colours_of(folder):
    """How red, green and blue each picture is to the network, which sees it at 16 x 16."""
    from tests.networks import Colours, transforms

    see, net = transforms(), Colours()
    pictures = [see(Image.open(one)) for one in sorted((folder / "images").iterdir())]
    return np.stack([net(one[None])[0, :3].mean(dim=(1, 2)).detach().numpy() for one in pictures])


def ablated(colours, folder, home="state", **section):
    study = parse_study(table(colours, **section), folder)
    context, found = label_alone(study, folder / home, ASSET)
    return context, {one.unit.neuron: one.product.outcome for one in found.values()}, found


def by_class(outcome):
    return {entry["class"]: entry for entry in outcome.payload["classes"]}


def test_zero_and_mean_ablation_by_hand_on_all_images(colours, folder):
    plain = SHARPNESS * colours_of(folder).mean(axis=0)
    _, zero, _ = ablated(colours, folder, how="zero")
    for unit, name in ((RED, "red"), (GREEN, "green"), (BLUE, "blue")):
        found = by_class(zero[unit])
        assert found[name]["logit"]["before"] == pytest.approx(plain[unit], rel=1e-3)
        assert found[name]["logit"]["change"] == pytest.approx(-plain[unit], rel=1e-3)
        assert found[name]["images"] == 12
        assert all(one["logit"]["change"] == 0 for other, one in found.items() if other != name)
        assert zero[unit].payload["classes"][0]["class"] == name, "the largest change first"
    _, mean, _ = ablated(colours, folder, "other", how="mean")
    for unit in (RED, GREEN, BLUE):
        change = by_class(mean[unit])[NAMES[unit]]["logit"]
        assert change["change"] == pytest.approx(0, abs=1e-3), "its mean is its mean"
        assert change["low"] < 0 < change["high"]


def test_accuracy_of_each_class_where_classes_are_known(colours, folder):
    """Of pictures with one coloured square each: without redness no red picture is red."""
    _, found, _ = ablated(colours, folder, how="zero", classes="classes.csv")
    red = by_class(found[RED])["red"]
    assert (red["images"], red["accuracy"]["before"], red["accuracy"]["change"]) == (4, 1.0, -1.0)
    assert (red["accuracy"]["low"], red["accuracy"]["high"]) == (-1.0, -1.0)
    for other in ("green", "blue"):
        assert by_class(found[RED])[other]["accuracy"]["change"] == 0
    assert found[RED].payload["accuracy"]["change"] == pytest.approx(-1 / 3)
    assert found[RED].payload["chosen"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_a_dead_unit_changes_nothing(how, colours, folder):
    _, found, _ = ablated(colours, folder, how=how, classes="classes.csv")
    dead = found[DEAD].payload
    assert dead["chosen"] == 0
    for entry in dead["classes"]:
        for part in ("logit", "accuracy"):
            assert [entry[part][name] for name in ("change", "low", "high")] == [0, 0, 0]


def test_neither_batch_nor_company_changes_an_effect(colours, folder):
    _, _, first = ablated(colours, folder, how="resample")
    other = changed(table(colours, how="resample"), compute__batch__target=1)
    study = parse_study(other, folder)
    _, second = label_alone(study, folder / "other", ASSET, ["net/colours/2"])
    assert versions(second).items() <= versions(first).items()


def test_a_linear_probe_reads_classes_off_a_network_that_has_none(colours, folder):
    study = parse_study(
        table(colours, "networks:space_4", how="zero", classes="classes.csv", probe=True), folder
    )
    study.models[0].layers[0].__dict__["path"] = "joint"
    _, found = label_alone(study, folder / "state", ASSET)
    outcomes = [one.product.outcome for one in found.values()]
    assert len(outcomes) == 4
    for one in outcomes:
        assert one.payload["probe"]
        assert {entry["class"] for entry in one.payload["classes"]} == set(NAMES)
        assert one.payload["accuracy"]["before"] > 0.8, "mean colours are told apart by a line"


@pytest.mark.parametrize(
    ("rows", "section", "told"),
    [
        ("file,class\n000.png,purple\n", {}, "no class of 'net'"),
        ("file,class\nmissing.png,red\n", {}, "no probing image is in the table"),
        ("file,colour\n000.png,red\n", {}, "no column for the classes"),
        ("file,class\n000.png,red\n000.png,blue\n", {}, "one class"),
    ],
)
def test_classes_that_do_not_fit_are_refused(rows, section, told, colours, folder):
    (folder / "classes.csv").write_text(rows + "\n")
    (folder / "classes.csv").write_text(rows if "purple" not in rows else rows + "001.png,red\n")
    with pytest.raises(Exception, match=told):
        ablated(colours, folder, classes="classes.csv", **section)


def test_the_folder_that_an_image_lies_in_may_be_its_class(colours, folder):
    for index, one in enumerate(sorted((folder / "images").iterdir())):
        place = folder / "images" / NAMES[index % 3]
        place.mkdir(exist_ok=True)
        one.rename(place / one.name)
    _, by_folder, _ = ablated(colours, folder, how="zero", classes="folders")
    _, by_table, _ = ablated(colours, folder, how="zero", classes="classes.csv")
    assert by_folder[RED].payload == by_table[RED].payload


def test_images_of_too_few_classes_for_a_probe_end_in_a_typed_status(colours, folder):
    (folder / "classes.csv").write_text("file,class\n000.png,red\n001.png,green\n")
    _, found, _ = ablated(colours, folder, classes="classes.csv", probe=True)
    assert {one.status for one in found.values()} == {"no_classes"}
    assert "two classes of 4 images" in found[RED].reason


def test_a_probe_needs_classes(colours, folder):
    with pytest.raises(StudyError, match="needs `classes`"):
        parse_study(table(colours, probe=True), folder)


def test_other_classes_are_other_products_and_the_same_ones_are_reused(colours, folder):
    _, _, first = ablated(colours, folder, how="zero", classes="classes.csv")
    _, _, again = ablated(colours, folder, how="zero", classes="classes.csv")
    assert all(one.record.reused for one in again.values())
    text = (folder / "classes.csv").read_text().replace("000.png,red", "000.png,blue")
    (folder / "classes.csv").write_text(text)
    _, _, other = ablated(colours, folder, how="zero", classes="classes.csv")
    assert not any(one.record.reused for one in other.values())
    assert versions(first) != versions(other)


def test_readers_show_it_beside_the_label(colours, folder):
    context, _, _ = ablated(colours, folder, how="zero", classes="classes.csv")
    card = Cards(context.lineage, context.store, context.study.name).card("net/colours/0")
    first = card.ablation.losses[0]
    assert (first.name, first.accuracy, first.accuracy_change) == ("red", 1.0, -1.0)
    assert "Without it (zero ablation, 12 images)" in card_html(card, context.pictures)
    page = unit_page(card, entry_of(card), lambda _hash: None, {}, (None, None), "colours").decode()
    assert "What the network loses without it" in page
    assert re.search(r"<bdi>red</bdi>.*100 %.*-1 to -1", page)
    rows = [
        row
        for part in TableSource(context.lineage, context.study.name).batches(
            ASSET, [TableSource(context.lineage, context.study.name).table(ASSET)]
        )
        for row in part.by_table[ASSET]
    ]
    red = next(row for row in rows if row["unit"] == "net/colours/0" and row["position"] == 1)
    assert (red["class"], red["how"], red["accuracy_change"]) == ("red", "zero", -1.0)
    (folder / "study.toml").write_text(toml(table(colours, how="zero", classes="classes.csv")))
    told = dnd(folder, "trace", "net/colours/0", "--asset", ASSET)
    assert "accuracy 100.0% to 0.0% of 4 images" in told.stdout, told.output


def test_the_command_ablates_a_group_beside_random_ones(colours, folder):
    (folder / "study.toml").write_text(toml(table(colours, how="zero", classes="classes.csv")))
    study = parse_study(table(colours, how="zero", classes="classes.csv"), folder)
    label_alone(study, folder / "state", ASSET)
    asked = ("ablate", "net/colours/0", "net/colours/1", "--random", "0", "-f", "json")
    result = dnd(folder, *asked)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    changes = {one["class"]: one["accuracy"]["change"] for one in found["classes"]}
    assert changes == {"red": -1.0, "green": -1.0, "blue": 0.0}
    assert found["units"] == ["net/colours/0", "net/colours/1"]
    shown = dnd(folder, "ablate", "net/colours/0", "--random", "3", "--how", "mean")
    assert shown.exit_code == 0, shown.output
    assert "mean ablation of 1 units" in shown.stdout
    assert "random groups" in shown.stdout
    refused = dnd(folder, "ablate", "net/colours/0-1", "--random", "3")
    assert "1 other units cannot make groups of 2" in str(refused.exception)


def test_a_group_that_was_ablated_is_read_back(colours, folder):
    from dnd_assets.analysis.group_ablation import ablate

    study = parse_study(table(colours, how="zero", classes="classes.csv"), folder)
    label_alone(study, folder / "state", ASSET)
    results = []
    for _ in range(2):
        context = build_context(study, folder / "state")
        units = find_units(context).select(["net/colours/1"])
        results.append(ablate(context, units, random=2))
        results.append(context.tally["ablations"])
    assert results[0] == results[2]
    assert results[1] == 12 * 4
    assert results[3] == 0
    scores = {one["name"]: one for one in results[0][0]["accuracies"]}
    assert scores["green"]["change"]["change"] == -1
    assert scores["green"]["random"] == 0
    assert scores["green"]["beyond"]["change"] == -1
