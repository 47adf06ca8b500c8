"""Concept sets: what counts as a concept, what is refused, and templates."""

import codecs
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.files.concept_sets import (
    ConceptSet,
    check_template,
    parse_concepts,
    prompts,
    read_concepts,
)

CONCEPTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8
)


def test_a_worked_case():
    found = parse_concepts("red\n  blue sky \n\n\tred\nRed\n\ngrün\n".encode())

    assert found == ConceptSet(("red", "blue sky", "Red", "grün"), duplicates=1, blanks=2)
    expected = b'["red", "blue sky", "Red", "gr\\u00fcn"]'
    assert found.hash == hashlib.sha256(expected).hexdigest()


def test_the_twenty_thousand_words_of_the_paper(shared_dir):
    path = shared_dir / "published" / "common_words_20k.txt"
    lines = [line.strip() for line in path.read_text().splitlines()]

    found = read_concepts(path)

    assert found.concepts[:3] == ("the", "of", "and")
    assert len(found.concepts) == len({line for line in lines if line})
    assert len(found.concepts) + found.duplicates + found.blanks == len(lines)


@given(
    st.lists(CONCEPTS, min_size=1, unique=True),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)
def test_the_form_of_the_file_does_not_matter(concepts, end, mark, last):
    text = end.join(concepts) + (end if last else "")
    data = (codecs.BOM_UTF8 if mark else b"") + text.encode()

    found = parse_concepts(data)

    assert found == ConceptSet(tuple(concepts), 0, 0)
    assert found.hash == ConceptSet(tuple(concepts), 3, 7).hash


@given(st.lists(st.sampled_from(["a", "b", "", " ", "c d", "b "]), max_size=12))
def test_every_line_is_counted_once(lines):
    data = "".join(f"{line}\n" for line in lines).encode()
    if not any(line.strip() for line in lines):
        with pytest.raises(StudyError, match="holds no concept"):
            parse_concepts(data)
        return

    found = parse_concepts(data)

    assert len(found.concepts) + found.duplicates + found.blanks == len(lines)
    assert len(set(found.concepts)) == len(found.concepts)


def test_order_counts():
    assert parse_concepts(b"a\nb").hash != parse_concepts(b"b\na").hash
    assert parse_concepts(b"a b").hash != parse_concepts(b"a\nb").hash


def test_unusual_white_space_ends_no_line():
    assert parse_concepts("a\u2028b\n\x0bc".encode()).concepts == ("a\u2028b", "c")


def test_a_million_lines_take_seconds():
    data = "".join(f"concept number {i % 999_000}\r\n" for i in range(1_000_000)).encode()
    start = time.perf_counter()

    found = parse_concepts(data)

    assert (len(found.concepts), found.duplicates) == (999_000, 1_000)
    assert found.hash
    assert time.perf_counter() - start < 5


def test_bytes_that_are_not_utf8_are_named():
    with pytest.raises(StudyError, match=r"byte 0xfc at offset 6, in line 2\. Save it as UTF-8"):
        parse_concepts(b"red\ngr\xfcn\n")
    with pytest.raises(StudyError, match="offset 8, in line 3"):
        parse_concepts(codecs.BOM_UTF8 + b"a\r\nb\r\xff")
    with pytest.raises(StudyError, match="byte 0xff at offset 0, in line 1; it starts like UTF-16"):
        parse_concepts("red".encode("utf-16"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "words.txt").write_text("a\n")
    (tmp_path / "empty.txt").write_bytes(b"")

    with pytest.raises(NotFoundError, match=r"no concept set 'wrods.txt'; nearest: words.txt"):
        read_concepts(tmp_path / "wrods.txt")
    with pytest.raises(NotFoundError, match=r"'words.txt'; there are none. Looked in .*nowhere"):
        read_concepts(tmp_path / "nowhere" / "words.txt")
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_concepts(tmp_path)
    with pytest.raises(StudyError, match=r"empty.txt holds no concept \(0 bytes"):
        read_concepts(tmp_path / "empty.txt")
    assert read_concepts(tmp_path / "words.txt").concepts == ("a",)


def test_prompts():
    assert prompts(["{a}", "b"], "{{{concept}}} and {concept}") == ["{{a}} and {a}", "{b} and b"]
    assert prompts(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a photo", r"'a photo' has no \{concept\}; write"),
        ("a {concpt}", r"has the field \{concpt\}"),
        ("a {concept} of {x}", r"has the field \{x\}"),
        ("a {}", r"has the field \{\}"),
        ("a {concept:>9}", "a format in it"),
        ("a {concept!r}", "a format in it"),
        ("a {concept", "single brace"),
        ("a concept}", "single brace"),
    ],
)
def test_templates_that_are_refused(template, message):
    with pytest.raises(StudyError, match=message):
        check_template(template)
