"""Products of no unit that a run saw when it began."""

from dataclasses import replace

import pytest

from dnd_assets.assets.concept_activations import ConceptActivations
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.observed_assets import Seen
from dnd_assets.study.study import parse_study
from tests import studies

RECORDED = """
SELECT m.run, m.key, m.data_version, m.code_version, p.payload, p.notes
FROM materializations m JOIN products p USING (key)
"""


@pytest.fixture
def context(colours, tmp_path):
    studies.write_images(tmp_path / "images", count=3)
    return build_context(parse_study(colours, tmp_path), tmp_path / "state")


def _recorded(context):
    return context.lineage.query(RECORDED)


def test_what_was_seen_is_recorded_as_if_it_was_looked_at_again(context):
    whole = ProbingSet()
    seen = Seen([whole.observe(context)], context.lineage.waits)
    assert _recorded(context) == []
    product = seen.record(context, whole, "run")
    other = replace(context, **_another(context))
    assert product == whole.materialize(other, "run")
    (row,) = _recorded(context)
    assert [row] == _recorded(other)


def _another(context):
    """Lineage and store of another state folder."""
    there = build_context(context.study, context.home.with_name("other"))
    return {"home": there.home, "lineage": there.lineage, "store": there.store}


def test_what_has_to_be_looked_at_again_is_not_recorded(context):
    whole, waits = ProbingSet(), context.lineage.waits
    product = whole.observe(context)
    assert Seen().record(context, whole, "run") is None
    assert Seen([product], waits + 1).record(context, whole, "run") is None
    assert Seen([product], waits).record(context, ConceptActivations(), "run") is None
    computed = replace(product, asset=ConceptActivations.name)
    assert Seen([computed], waits).record(context, ConceptActivations(), "run") is None
    context.store.path(product.payload["manifest"]).unlink()
    assert Seen([product], waits).record(context, whole, "run") is None
    assert _recorded(context) == []
