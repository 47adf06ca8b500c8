"""Fingerprints: one JSON text for one value, and code versions that notice what matters."""

import importlib.util
import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.lineage import fingerprint
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest, preimage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\u00e9 1"), inner),
    max_leaves=12,
)  # fmt: skip


def test_the_canonical_text_is_short_sorted_unicode():
    value = {"b": [1, 2.5, None, True], "a": {"z": "\u732b", "y": 1e-07}}

    assert canonical(value) == '{"a":{"y":1e-07,"z":"\u732b"},"b":[1,2.5,null,true]}'


@given(JSON)
def test_the_canonical_text_reads_back_as_the_value(value):
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_the_order_of_keys_does_not_matter(value):
    turned = dict(reversed(value.items()))

    assert list(turned) != list(value)
    assert digest(turned) == digest(value)


def test_what_differs_in_content_differs_in_digest():
    values = [1, 1.5, "1", [1], {"1": 1}, {"1": None}, None, True, "", [], {}, [[1], 2], [1, [2]]]

    assert len({digest(value) for value in values}) == len(values)


def test_a_digest_is_known():
    # printf '{"a":2,"b":1}' | sha256sum
    assert digest({"b": 1, "a": 2}) == (
        "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(number):
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": [1, {"b": number}]})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(TypeError):
        digest(value)


BASE = '''
"""A module."""
SCALE = 2


def work(x, shift=1):
    """Doc of work."""
    return [SCALE * v + shift for v in x]


class Box:
    """Doc of Box."""

    size = 3

    def fill(self):
        """Doc of fill."""
'''
COSMETIC = '''# a licence
"""Another text."""

SCALE = 2  # why two


def work(
    x,
    shift=1,
):
    # a comment
    return [SCALE*v+shift
            for v in x]
class Box:
    size = 3

    def fill(self):
        """Something else
        in two lines."""
'''
CHANGES = {
    "constant": ("SCALE = 2", "SCALE = 3"),
    "type of a constant": ("SCALE = 2", "SCALE = 2.0"),
    "default": ("shift=1", "shift=2"),
    "operator": ("SCALE * v", "SCALE - v"),
    "attribute": ("size = 3", "size = 4"),
    "name": ("def fill", "def empty"),
    "a string that is no docstring": ("size = 3", "size = 3\n    'text'"),
}


def module(folder, text, name):
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # `inspect` looks classes up there
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def made(tmp_path, request):
    names = []

    def make(text):
        names.append(f"sample_{len(names)}_{abs(hash(request.node.name))}")
        return module(tmp_path, text, names[-1])

    yield make
    for name in names:
        sys.modules.pop(name)


def test_comments_docstrings_and_layout_change_nothing(made):
    one, other = made(BASE), made(COSMETIC)

    assert code_version(one) == code_version(other)
    assert code_version(one.work) == code_version(other.work)
    assert code_version(one.Box) == code_version(other.Box)
    assert len(code_version(one)) == 12


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_may_change_a_result_is_noticed(made, change):
    before, after = CHANGES[change]
    assert BASE.count(before) == 1

    assert code_version(made(BASE)) != code_version(made(BASE.replace(before, after)))


def test_every_source_counts(made):
    found = made(BASE)

    assert code_version(found.work) != code_version(found.work, found.Box)
    assert code_version(found.work) != code_version(found.Box)


def test_methods_and_nested_functions_have_versions():
    def inner():
        """Doc."""
        return 1

    assert code_version(inner) != code_version(TestLike.method)


class TestLike:
    __test__ = False

    def method(self):
        return 2


def test_another_process_finds_the_same_version():
    script = (
        "from dnd_assets.lineage import code, fingerprint as f; "
        "print(code.code_version(f, f.preimage))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.strip() == code_version(fingerprint, preimage)


def test_a_preimage_names_all_that_a_product_was_made_from():
    whole = preimage("labels", "c0de", {"k": 3}, {"clip": "w"}, {"scores": "v"})

    assert whole == {
        "asset": "labels",
        "code": "c0de",
        "parameters": {"k": 3},
        "weights": {"clip": "w"},
        "inputs": {"scores": "v"},
    }
    others = [
        preimage("scores", "c0de", {"k": 3}, {"clip": "w"}, {"scores": "v"}),
        preimage("labels", "c0d3", {"k": 3}, {"clip": "w"}, {"scores": "v"}),
        preimage("labels", "c0de", {"k": 4}, {"clip": "w"}, {"scores": "v"}),
        preimage("labels", "c0de", {"k": 3}, {"clip": "x"}, {"scores": "v"}),
        preimage("labels", "c0de", {"k": 3}, {"clip": "w"}, {"scores": "u"}),
    ]
    assert len({digest(one) for one in [whole, *others]}) == 6
