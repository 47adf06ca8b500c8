"""The study's models and stores as Dagster hands them over."""

import dagster as dg
import pytest

from dnd_assets.errors import StudyError
from dnd_assets.workflow.dagster_resources import as_dagster, settings_of
from resources.runtime.compute import Compute
from resources.runtime.resource import Resource


class Model(Resource):
    """A model with something that is no setting."""

    checkpoint: str
    compute: Compute


def _asked(resources, run_config=None):
    """What an asset gets, for resources as a study has them."""
    found = {}

    @dg.asset(required_resource_keys=set(resources))
    def asking(context):
        found.update({name: getattr(context.resources, name) for name in resources})

    given = {name: as_dagster(name, one) for name, one in resources.items()}
    dg.materialize([asking], resources=given, run_config=run_config)
    return found


def test_assets_get_the_very_resource_of_the_study():
    compute = Compute()
    model = Model(checkpoint="a", compute=compute)
    found = _asked({"model": model, "compute": compute})
    assert found["model"] is model
    assert found["compute"] is compute


def test_its_settings_are_shown_with_those_of_what_it_rests_on():
    model = Model(checkpoint="a", compute=Compute(device="cpu"))
    shown = as_dagster("model", model)
    assert shown.checkpoint == "a"
    assert shown.compute["device"] == "cpu"
    assert settings_of(model)["compute"] == shown.compute
    assert "A model with something" in type(shown).__doc__


def test_other_settings_of_a_launch_are_refused():
    model = Model(checkpoint="a", compute=Compute())
    other = {"resources": {"model": {"config": {"checkpoint": "b"}}}}
    with pytest.raises(dg.DagsterResourceFunctionError) as failed:
        _asked({"model": model}, other)
    cause = failed.value.__cause__
    assert isinstance(cause, StudyError)
    assert "another checkpoint of" in str(cause)
    assert "'b'; the study leads to 'a'" in str(cause)
    same = {"resources": {"model": {"config": {"checkpoint": "a"}}}}
    assert _asked({"model": model}, same)["model"] is model
