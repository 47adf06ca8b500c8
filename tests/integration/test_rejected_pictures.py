"""A safety checker that rejects some pictures: recorded, shown, and no evidence for a concept."""

import io

import numpy as np
import pytest
from rich.console import Console

from dnd_assets.engine.context_builder import build_context
from dnd_assets.lineage.trace import trace
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.metadata import unit_metadata
from tests import studies
from tests.resources import tiny

ALIVE = [f"net/colours/{index}" for index in range(3)]
THRESHOLD = 0.45
"""Of the checker: some pictures of this painter resemble what it looks for, most do not."""


@pytest.fixture(scope="module")
def checked(colours, tmp_path_factory):
    """The small study with Stable Diffusion's own checker: its context, and announcements."""
    folder = tmp_path_factory.mktemp("checked")
    studies.write_images(folder / "images")
    safe = tiny.stable_diffusion(tmp_path_factory.mktemp("tiny") / "safe", THRESHOLD)
    table = studies.changed(colours, text_to_image__checkpoint=str(safe), dissection__candidates=3)
    found = studies.label(table, folder, ["net/colours"])
    return build_context(parse_study(table, folder), folder / "state"), found


def _pictures(found, unit):
    concepts = found["synthetic_images", unit].product.payload["concepts"]
    return {entry["concept"]: entry["images"] for entry in concepts}


def test_the_checker_is_the_true_one_and_stays_on(checked):
    pipeline = checked[0].text_to_image._load()

    assert type(pipeline.safety_checker).__name__ == "StableDiffusionSafetyChecker"


def test_rejections_are_recorded_picture_by_picture_and_replaced(checked):
    context, found = checked
    every = [image for unit in ALIVE for some in _pictures(found, unit).values() for image in some]
    assert {image["rejected"] for image in every} == {True, False}
    for image in every:
        (picture,) = context.pictures.load([image["image"]])
        assert (np.asarray(picture).max() == 0) == image["rejected"]
    for unit in ALIVE:
        if found["synthetic_images", unit].record.status == "ok":
            for images in _pictures(found, unit).values():
                assert sum(not image["rejected"] for image in images) == 3
                assert [image["index"] for image in images] == list(range(len(images)))


def test_a_rejected_picture_is_no_evidence(checked):
    """Each concept's activations are those of its accepted pictures, worked out anew."""
    context, found = checked
    seen = 0
    for unit in ALIVE:
        if found["scores", unit].record.status != "ok":
            continue
        for entry in found["scores", unit].product.payload["concepts"]:
            images = _pictures(found, unit)[entry["concept"]]
            accepted = [image["image"] for image in images if not image["rejected"]]
            loaded = context.pictures.load(accepted)
            values = context.targets.activations("net", {"colours": "mean"}, loaded, 8)["colours"]
            own = sorted(values[:, int(unit[-1])].tolist())
            assert sorted(entry["activations"]) == pytest.approx(own, abs=1e-5)
            seen += len(images) - len(accepted)
    assert seen, "some concept was scored beside rejected pictures of its own"


def test_a_concept_without_enough_pictures_is_dropped_and_told(checked):
    context, found = checked
    notes = {u: found["synthetic_images", u].product.outcome.notes for u in ALIVE}
    dropped = {unit: one["dropped"] for unit, one in notes.items() if one.get("dropped")}
    assert dropped, "some concept is dropped"
    for unit, names in dropped.items():
        assert set(names).isdisjoint(_pictures(found, unit))
        shown = _shown(context, unit)
        for name in names:
            assert f"too many pictures of {name!r} were rejected" in shown


def _shown(context, unit):
    text = io.StringIO()
    console = Console(file=text, width=300)
    console.print(tree(trace(context.lineage.query, "colours", unit)))
    return text.getvalue()


def test_rejections_show_in_the_trace_and_in_the_interface(checked):
    context, found = checked
    for unit in ALIVE:
        one = found["synthetic_images", unit]
        images = [image for some in _pictures(found, unit).values() for image in some]
        rejected = sum(image["rejected"] for image in images)
        assert _shown(context, unit).count("rejected by the safety checker") == rejected
        shown = unit_metadata(context, "synthetic_images", one)
        if one.record.status == "ok":
            assert shown["rejected pictures"] == rejected
            assert ("dropped for rejected pictures" in shown) == bool(
                one.product.outcome.notes["dropped"]
            )
        else:
            assert one.record.status == "rejected"
            assert "rejected the pictures of every candidate" in shown["reason"]
