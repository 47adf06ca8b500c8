"""Names and texts that are safe wherever a report is opened."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.report.names import picture_name, script, visible
from dnd_assets.workflow.atlas_address import page_name
from tests.report import hostile


@given(st.text())
def test_page_names_are_plain_and_short(unit):
    assert re.fullmatch(r"[a-z0-9-]{1,60}-[0-9a-f]{10}\.html", page_name(unit))


@given(st.lists(st.text(max_size=8), min_size=2, max_size=9, unique=True))
def test_different_units_have_different_pages(units):
    assert len({page_name(unit) for unit in units}) == len(units)


def test_units_that_differ_in_case_or_dots_alone_have_different_pages():
    names = ["net/Layer.1/2", "net/layer.1/2", "net/layer-1/2", "net/layer/1/2", "con", "CON"]
    assert len({page_name(name).lower() for name in names}) == len(names)


@given(st.text())
def test_what_is_visible_can_be_printed_and_encoded(text):
    seen = visible(text)
    assert seen.replace("\u200d", "").isprintable()
    seen.encode()


def test_marks_that_act_become_numbers():
    assert visible("a\u202eb\u2066c\x00d\x1be\u2028f\ud800g") == (
        "a\\u202eb\\u2066c\\u0000d\\u001be\\u2028f\\ud800g"
    )
    assert visible("zwei\tWörter\n日本 🐕‍🦺") == "zwei Wörter 日本 🐕‍🦺"
    assert len(visible("x" * 10_000)) == 1_001


@pytest.mark.parametrize("text", hostile.TEXTS)
def test_a_script_holds_its_value_and_nothing_that_ends_it(text):
    data = script("NAME", {"text": text}).decode("ascii")
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data.partition(" = ")[2].strip()[:-1]) == {"text": text}


def test_pictures_are_named_by_content():
    assert picture_name("ab" * 32) == f"pictures/ab/{'ab' * 12}.jpg"
