"""The human study as files: blind, repeatable, safe to open, refused where it makes no sense."""

import base64
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dnd_assets.analysis.human_study.forms import Form, mturk_rows
from dnd_assets.analysis.human_study.questionnaire import (
    Task,
    export_study,
    read_key,
    shown_order,
    task_id,
)
from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.files.csv_tables import FORMULA
from tests.resources import tiny

METHODS = {"Quokka": "red fish", "Numbat": "sea & sand", "Bilby": "a dog", "Potoroo": "aa"}
HARMFUL = {
    "Quokka": "<script>alert('x')</script>",
    "Numbat": '=HYPERLINK("http://example.org")',
    "Bilby": "${image_0} costs $5, café 🐟",
    "Potoroo": "@two\n lines\u200b",
}


def png(seed=0):
    buffer = io.BytesIO()
    tiny.pictures(1, 8, seed)[0].save(buffer, "PNG")
    return buffer.getvalue()


def task(number=0, descriptions=METHODS, images=3):
    return Task(f"net/layer{number % 2}/{number}", [png(i) for i in range(images)], descriptions)


class Page(HTMLParser):
    """What a browser makes of a page: tags with attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def filled(folder):
    """The MTurk form of each row as MTurk fills it in: the values as they are."""
    template = (folder / "mturk" / "template.html").read_text()
    with (folder / "mturk" / "tasks.csv").open(newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            yield row, Page(re.sub(r"\$\{(\w+)\}", lambda found, r=row: r[found[1]], template))


def test_the_files_of_a_study(tmp_path):
    files = export_study([task()], tmp_path, image_url="https://example.org/images/")

    names = [path.relative_to(tmp_path).as_posix() for path in files]
    assert names[:5] == [
        "key.json", "label_studio/tasks.json", "label_studio/config.xml",
        "mturk/tasks.csv", "mturk/template.html",
    ]  # fmt: skip
    assert len(names) == 5 + 3
    assert all(re.fullmatch(r"images/[0-9a-f]{64}\.png", name) for name in names[5:])
    assert sorted(path.read_bytes() for path in files[5:]) == sorted(png(i) for i in range(3))


def test_no_rater_learns_a_method_or_a_unit(tmp_path):
    export_study([task(i) for i in range(4)], tmp_path, image_url="https://example.org")

    for path in tmp_path.rglob("*.*"):
        if path.name == "key.json" or path.parent.name == "images":
            continue
        text = path.read_text()
        assert not any(method in text for method in METHODS), path
        assert "net/" not in text


def test_the_key_tells_what_was_shown(tmp_path):
    tasks = [task(i) for i in range(6)]
    export_study(tasks, tmp_path)
    key = read_key(tmp_path / "key.json")
    shown = json.loads((tmp_path / "label_studio" / "tasks.json").read_text())

    assert {one.unit for one in key.values()} == {one.unit for one in tasks}
    for row in shown:
        asked = key[row["data"]["task"]]
        for i, method in enumerate(asked.methods):
            assert row["data"][f"description_{i}"] == METHODS[method]


def test_the_order_is_shuffled_for_each_unit_by_its_content_alone():
    orders = [shown_order(task(i)) for i in range(200)]

    assert len(set(orders)) > 20  # of 24
    for place in range(4):
        first = sum(order[place] == "Quokka" for order in orders)
        assert 30 < first < 70  # 50 expected
    turned = Task("net/layer0/0", [], dict(reversed(METHODS.items())))
    assert shown_order(turned) == orders[0]
    assert shown_order(task(), seed=1) == shown_order(task(), seed=1)
    assert task_id("net/fc/0") != task_id("net/fc/0", seed=1)


def test_the_same_study_is_the_same_files_whatever_the_order_of_units(tmp_path):
    tasks = [task(i) for i in range(3)]
    one = export_study(tasks, tmp_path / "one", image_url="https://example.org")
    two = export_study(tasks[::-1], tmp_path / "two", image_url="https://example.org")

    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    export_study(tasks, tmp_path / "one")  # again, into the same folder


def test_label_studio_without_an_address_holds_the_pictures(tmp_path):
    files = export_study([task()], tmp_path)

    assert not (tmp_path / "mturk").exists()
    (row,) = json.loads(files[1].read_text())
    kind, _, data = row["data"]["image_0"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png(0)


def test_the_interface_of_label_studio_fits_its_tasks(tmp_path):
    export_study([task()], tmp_path)
    root = ET.fromstring((tmp_path / "label_studio" / "config.xml").read_text())
    (row,) = json.loads((tmp_path / "label_studio" / "tasks.json").read_text())

    used = {tag.get("value")[1:] for tag in root.iter() if (tag.get("value") or "").startswith("$")}
    assert used == set(row["data"]) - {"task"}
    names = {tag.get("name") for tag in root.iter() if tag.get("name")}
    ratings = [tag for tag in root.iter("Choices") if tag.get("name").startswith("rating_")]
    assert len(ratings) == 4
    for tag in ratings:
        assert tag.get("toName") in names
        assert [c.get("value")[0] for c in tag] == list("12345")
    assert {c.get("alias") for c in root.iter("Choice")} == {None, "uninterpretable", "none"}


def test_harmful_descriptions_are_shown_as_they_are(tmp_path):
    harmful = task(descriptions=HARMFUL)
    export_study([harmful], tmp_path, image_url="https://example.org/i")

    ((row, page),) = filled(tmp_path)
    (asked,) = read_key(tmp_path / "key.json").values()
    assert all(not cell.startswith(FORMULA) for cell in row.values())
    legends = [t for t in page.texts if t.strip()]
    for method in asked.methods:
        expected = " ".join(HARMFUL[method].split()).replace("\u200b", "")
        assert expected in legends
    assert {tag for tag, _ in page.tags} == {
        "p", "table", "tr", "td", "img", "fieldset", "legend", "label", "input", "br",
    }  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_any_text_comes_through_mturk_and_no_spreadsheet_runs_it(text):
    rows = mturk_rows([Form("0", ("https://example.org/a.png",), (text,))])

    ((_, _, cell),) = list(csv.reader(io.StringIO(rows)))[1:]
    assert unescape(cell) == text
    assert cell.isascii()
    assert not cell.startswith(FORMULA)
    assert not any(sign in cell for sign in "<>$\"'")


def test_the_form_needs_nothing_that_a_content_policy_stops(tmp_path):
    export_study([task()], tmp_path, image_url="https://example.org/i")

    ((_, page),) = filled(tmp_path)
    for tag, attributes in page.tags:
        assert tag not in ("script", "style", "link", "iframe", "form")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("https://example.org/i/") for source in sources)
    radios = [a for tag, a in page.tags if tag == "input" and a["type"] == "radio"]
    assert {(a["name"], a["value"]) for a in radios} == {
        (f"rating_{i}", str(point)) for i in range(4) for point in range(1, 6)
    }


def test_pictures_that_browsers_do_not_show_become_png(tmp_path):
    tiny.pictures(1, 8)[0].save(tmp_path / "a.bmp")
    files = export_study([Task("net/fc/0", [tmp_path / "a.bmp"], METHODS)], tmp_path / "study")

    with Image.open(files[-1]) as shown:
        assert shown.format == "PNG"


def test_what_makes_no_study_is_refused(tmp_path):
    def refused(tasks, message, **options):
        with pytest.raises(StudyError, match=message):
            export_study(tasks, tmp_path / "study", **options)
        assert not (tmp_path / "study").exists()

    refused([], "one task at least")
    refused([task(1), task(1)], "net/layer1/1 comes twice")
    refused([task(1), task(2, {"Bilby": "x"})], "by Bilby, but net/layer1/1 by Bilby, Numbat")
    refused([task(1, {})], "by nobody")
    refused([task(1), task(2, images=2)], "2 images, but net/layer1/1 3")
    refused([task(1, {**METHODS, "Bilby": " \n"})], "no description by Bilby")
    refused([task(1)], "starts with https", image_url="example.org")
    refused([Task("net/fc/0", [b"noise"], METHODS)], "of 5 bytes of unit net/fc/0 cannot be read")
    (tmp_path / "fish.png").write_bytes(png()[:60])
    refused([Task("net/fc/0", [tmp_path / "fish.png"], METHODS)], r"fish\.png .*cannot be read")
    refused([Task("net/fc/0", [tmp_path / "fisch.png"], METHODS)], r"no picture .*holds: fish\.png")


def test_the_key_of_another_study_is_never_replaced(tmp_path):
    export_study([task(1)], tmp_path)

    with pytest.raises(StudyError, match=r"key of another study.*Choose an empty folder"):
        export_study([task(2)], tmp_path)
    assert [one.unit for one in read_key(tmp_path / "key.json").values()] == ["net/layer1/1"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "tasks": {}}', "{1"])
def test_what_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "key.json").write_text(content)

    with pytest.raises(StudyError, match=r"not the key of a human study .*Give the key\.json"):
        read_key(tmp_path / "key.json")
    with pytest.raises(NotFoundError, match=r"holds: key\.json"):
        read_key(tmp_path / "kex.json")
