"""Fingerprints: what a product was made from, as one hash with a readable preimage.

`key = sha256(canonical JSON of {asset, code, parameters, weights, inputs})`. Two products with one
key are the same product, whatever run, study or order made them; the stored preimage lets a miss be
explained by comparing two JSON documents.
"""

from __future__ import annotations

import ast
import hashlib
import json
import textwrap
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypedDict

from dnd_assets.lineage.code_cache import project_versions
from dnd_assets.lineage.code_names import without_docstrings

Json = object
"""A value made of dict, list, str, int, float, bool and None."""

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical(value: Json) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: when a number is NaN or infinite, which JSON cannot say.
    """
    return _ENCODER.encode(value)


def digest(value: Json) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of `value`.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@lru_cache(maxsize=256)  # a plan asks for it once for every unit
def source_version(source: str) -> str:
    """Twelve hexadecimal digits of Python source text by itself, docstrings and layout left out."""
    name = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
    return project_versions().version(f"source {name}", lambda: _tree_version(source))


def _tree_version(source: str) -> str:
    tree = ast.parse(textwrap.dedent(source))
    without_docstrings(tree)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


class Preimage(TypedDict):
    """What the key of a product is the hash of.

    Attributes:
        asset: the product's name.
        code: code version of the functions that make it.
        parameters: the settings that matter to it.
        weights: hashes of the fingerprints of its models, by role.
        inputs: data version of each input, by name.
    """

    asset: str
    code: str
    parameters: dict[str, Any]
    weights: dict[str, str]
    inputs: dict[str, str]


def preimage(
    asset: str,
    code: str,
    parameters: Mapping[str, Json],
    weights: Mapping[str, str],
    inputs: Mapping[str, str],
) -> Preimage:
    """The readable description of a product that its key is the hash of.

    Args:
        asset: the product's name.
        code: code version of the functions that make it.
        parameters: the settings that matter to it, and no others.
        weights: hashes of the fingerprints of the models it uses, by role.
        inputs: data version of each input by name.
    """
    return {
        "asset": asset,
        "code": code,
        "parameters": dict(parameters),
        "weights": dict(weights),
        "inputs": dict(inputs),
    }
