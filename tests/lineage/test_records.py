"""Records: the version of a product is its content, and its row says everything."""

import json
import math
from dataclasses import asdict, fields
from typing import get_args

import pytest

from dnd_assets.lineage.records import (
    RETRYABLE,
    Materialization,
    Outcome,
    Product,
    Status,
    StoredVersion,
)
from resources.lineage_db.database import Lineage

PREIMAGE = {"asset": "labels", "inputs": {"scores": "v1"}}


def test_the_data_version_is_the_content():
    one = Outcome("ok", {"label": "red", "scores": [1, 2]})

    assert one.data_version == Outcome("ok", {"scores": [1, 2], "label": "red"}).data_version
    assert len(one.data_version) == 64
    others = [
        Outcome("ok", {"label": "blue", "scores": [1, 2]}),
        Outcome("ok", {"label": "red", "scores": [2, 1]}),
        Outcome("rejected", {"label": "red", "scores": [1, 2]}),
    ]
    assert len({outcome.data_version for outcome in [one, *others]}) == 4


def test_notes_and_reasons_are_no_part_of_the_version():
    plain = Outcome("dead", {})

    assert Outcome("dead", {}, "it never fires", {"files": ["a"]}).data_version == (
        plain.data_version
    )


def test_content_that_is_no_number_has_no_version():
    with pytest.raises(ValueError, match="JSON"):
        _ = Outcome("ok", {"score": math.nan}).data_version


def test_a_product_passes_its_outcome_on():
    product = Product("k", "labels", PREIMAGE, Outcome("ok", {"label": "red"}))

    assert product.ok
    assert product.payload == {"label": "red"}
    assert product.data_version == product.outcome.data_version
    assert not Product("k", "labels", PREIMAGE, Outcome("dead")).ok


@pytest.mark.parametrize("status", get_args(Status))
def test_a_product_comes_back_from_the_database_as_it_was(tmp_path, status):
    outcome = Outcome(status, {"label": "caf\u00e9", "n": [1, 0.1, None]}, "why", {"files": ["f"]})
    product = Product("k", "labels", PREIMAGE, outcome)
    lineage = Lineage(root=str(tmp_path))
    lineage.commit({"products": [product.row()]})

    assert lineage.products(["k", "unknown", "k"]) == {"k": product}
    assert lineage.heads(["k", "unknown"]) == {
        "k": StoredVersion(product.data_version, status, "why", ("f",))
    }
    assert json.loads(product.row()["preimage"]) == PREIMAGE


def test_a_head_without_files(tmp_path):
    product = Product("k", "labels", PREIMAGE, Outcome("ok"))
    lineage = Lineage(root=str(tmp_path))
    lineage.commit({"products": [product.row()]})

    assert lineage.heads(["k"])["k"].files == ()


def test_only_failures_of_a_service_are_tried_again():
    assert set(get_args(Status)) >= RETRYABLE
    assert {"ok", "dead", "no_captions", "rejected"}.isdisjoint(RETRYABLE)


def test_a_materialization_fills_its_table(tmp_path):
    row = Materialization(
        run="r",
        study="s",
        asset="labels",
        unit="n/fc/0",
        model="n",
        layer="fc",
        neuron=None,
        key="k",
        data_version="v",
        code_version="c",
        status="ok",
        reason="",
        reused=True,
        device="cpu",
        seconds=0.25,
        recorded_at="2026-01-01",
    )
    lineage = Lineage(root=str(tmp_path))
    lineage.commit({"materializations": [asdict(row)]})

    assert lineage.query("SELECT * FROM materializations") == [asdict(row)]
    sql = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'materializations'"
    assert [r["column_name"] for r in lineage.query(sql)] == [f.name for f in fields(row)]
