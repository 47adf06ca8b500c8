"""Products of no unit that a run saw when it began."""

from dataclasses import replace

import pytest

from dnd_assets.assets.concept_activations import ConceptActivations
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.build import build_bench
from dnd_assets.engine.seen import Seen
from dnd_assets.study.study import parse_study
from tests import studies

RECORDED = """
SELECT m.run, m.key, m.data_version, m.code_version, p.payload, p.notes
FROM materializations m JOIN products p USING (key)
"""


@pytest.fixture
def bench(colours, tmp_path):
    studies.write_images(tmp_path / "images", count=3)
    return build_bench(parse_study(colours, tmp_path), tmp_path / "state")


def _recorded(bench):
    return bench.lineage.query(RECORDED)


def test_what_was_seen_is_recorded_as_if_it_was_looked_at_again(bench):
    whole = ProbingSet()
    seen = Seen([whole.look(bench)], bench.lineage.waits)
    assert _recorded(bench) == []
    product = seen.record(bench, whole, "run")
    other = replace(bench, **_another(bench))
    assert product == whole.materialize(other, "run")
    (row,) = _recorded(bench)
    assert [row] == _recorded(other)


def _another(bench):
    """Lineage and store of another state folder."""
    there = build_bench(bench.study, bench.home.with_name("other"))
    return {"home": there.home, "lineage": there.lineage, "store": there.store}


def test_what_has_to_be_looked_at_again_is_not_recorded(bench):
    whole, waits = ProbingSet(), bench.lineage.waits
    product = whole.look(bench)
    assert Seen().record(bench, whole, "run") is None
    assert Seen([product], waits + 1).record(bench, whole, "run") is None
    assert Seen([product], waits).record(bench, ConceptActivations(), "run") is None
    computed = replace(product, asset=ConceptActivations.name)
    assert Seen([computed], waits).record(bench, ConceptActivations(), "run") is None
    bench.store.path(product.payload["manifest"]).unlink()
    assert Seen([product], waits).record(bench, whole, "run") is None
    assert _recorded(bench) == []
