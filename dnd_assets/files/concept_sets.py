"""Concept sets: any text file with one concept a line.

The set is known by its concepts in their order: byte order mark, line ends, blank lines and
repetitions change nothing.
"""

from __future__ import annotations

import codecs
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from dnd_assets.errors import NotFoundError, StudyError, not_found
from dnd_assets.files.atomic import sha256

FIELD: Final = "concept"
"""The field of a prompt template: `a photo of a {concept}`."""


@dataclass(frozen=True)
class ConceptSet:
    """What a file of concepts holds.

    Attributes:
        concepts: each once, in the order of their first lines, without surrounding white space.
        duplicates: lines that repeat an earlier concept.
        blanks: lines without a concept.
    """

    concepts: tuple[str, ...]
    duplicates: int
    blanks: int

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the concepts in their order, hexadecimal."""
        return sha256(json.dumps(self.concepts, ensure_ascii=True).encode())


def read_concepts(path: Path) -> ConceptSet:
    """The concepts in a text file: UTF-8, with or without byte order mark, LF or CRLF.

    Only line feeds and carriage returns end a line. Concepts that differ in case are different.

    Args:
        path: the file.

    Raises:
        NotFoundError: when there is no such file; names the nearest ones beside it.
        StudyError: when the file is not UTF-8 (names byte and line) or holds no concept.
    """
    return parse_concepts(_read(path), str(path))


def parse_concepts(data: bytes, name: str = "the concept set") -> ConceptSet:
    r"""`read_concepts` of the bytes of a file.

    Args:
        data: the bytes.
        name: what to call the file in errors.

    Raises:
        StudyError: as for `read_concepts`.

    >>> parse_concepts(b"red\r\n\r\nblue\r\nred\r\n")
    ConceptSet(concepts=('red', 'blue'), duplicates=1, blanks=1)
    """
    text = _decode(data.removeprefix(codecs.BOM_UTF8), name, data)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    non_blank = [line for line in map(str.strip, lines) if line]
    concepts = tuple(dict.fromkeys(non_blank))
    if not concepts:
        raise StudyError(
            f"{name} holds no concept ({len(data):,} bytes, nothing but blank lines); write one "
            "concept a line"
        )
    return ConceptSet(concepts, len(non_blank) - len(concepts), len(lines) - len(non_blank))


def prompts(concepts: Sequence[str], template: str = "{concept}") -> list[str]:
    """The texts that stand for the concepts before CLIP.

    Args:
        concepts: the concepts.
        template: a text with `{concept}`, for example `a photo of a {concept}`; braces that are
            meant as such are doubled.

    Raises:
        StudyError: when the template has no `{concept}`, another field, or a single brace.

    >>> prompts(["dog", "cat"], "a photo of a {concept}")
    ['a photo of a dog', 'a photo of a cat']
    """
    check_template(template)
    return [template.format(concept=concept) for concept in concepts]


def check_template(template: str) -> None:
    """Refuse a prompt template that is not a text with `{concept}` in it.

    Raises:
        StudyError: says what is wrong with it.
    """
    advice = "write {concept} where the concept belongs, as in 'a photo of a {concept}'"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise StudyError(
            f"the prompt template {template!r} has a single brace ({error}); double braces that "
            f"are meant as such, and {advice}"
        ) from error
    fields = [field for _, field, _, _ in parts if field is not None]
    others = [field for field in fields if field != FIELD]
    if others or any(spec or conversion for _, _, spec, conversion in parts):
        wrong_field = others[0] if others else FIELD
        raise StudyError(
            f"the prompt template {template!r} has the field {{{wrong_field}}} or a format in it, "
            f"but only a plain {{concept}} is known; {advice}"
        )
    if not fields:
        raise StudyError(f"the prompt template {template!r} has no {{concept}}; {advice}")


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would wait for ever
            raise OSError("it is no file")
        return path.read_bytes()
    except FileNotFoundError:
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        names = sorted(file.name for file in siblings if file.is_file())
        advice = f"Looked in {path.parent}. Give the path of a text file with one concept a line."
        raise not_found("concept set", path.name, names, advice) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise NotFoundError(
            f"the concept set {path} cannot be read ({reason}); give the path of a text file with "
            "one concept a line"
        ) from error


def _decode(data: bytes, name: str, raw: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + len(raw) - len(data)
        before = raw[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = "; it starts like UTF-16" if utf16 else ""
        raise StudyError(
            f"{name} is not UTF-8: byte 0x{raw[offset]:02x} at offset {offset:,}, in line "
            f"{before.count(10) + 1:,}{hint}. Save it as UTF-8, for example with "
            f"`iconv -f {'UTF-16' if utf16 else 'LATIN1'} -t UTF-8`"
        ) from error
