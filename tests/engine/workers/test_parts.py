"""What goes to workers and back: plain text and bytes, nothing lost on the way."""

import json

import numpy as np
import pytest

from dnd_assets.engine.workers.parts import Part, PartResult, WorkerAnswer, WorkerTask
from dnd_assets.study.study import embedded_studies, load_study, parse_study


def test_a_task_is_text_and_comes_back_as_it_was():
    part = Part(["a", "b"], ["0" * 64], {"units": [["layer", 3]], "none": None}, "by")
    task = WorkerTask(
        "package.module:name", "code", {"name": "s"}, "/f", "/h", part, {"0": ["/p"]}, {}
    )
    assert WorkerTask.of(task.text()) == task
    assert json.loads(task.text())["part"]["about"]["units"] == [["layer", 3]]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        np.array([np.nan, np.inf, -0.0], np.float32),
        np.zeros((0, 5), np.float32),
        np.array([1, 65535], np.uint16),
        np.array([1 << 40]),
    ],
)
def test_arrays_come_back_bit_by_bit(array):
    text, data = WorkerAnswer(PartResult(None, {"values layer.1": array})).packed()
    found = WorkerAnswer.of(text, data).made.arrays["values layer.1"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("values", [None, [], {"é": [1.1, None, True]}, 0.1 + 0.2])
def test_values_come_back(values):
    text, data = WorkerAnswer(PartResult(values), tally={"captions": 2}, said=["line"]).packed()
    found = WorkerAnswer.of(text, data)
    assert (found.made.values, found.tally, found.said) == (values, {"captions": 2}, ["line"])


def test_an_error_has_no_result():
    found = WorkerAnswer.of(*WorkerAnswer(problem=("StudyError", "no")).packed())
    assert (found.made, tuple(found.problem)) == (None, ("StudyError", "no"))


@pytest.mark.parametrize("name", sorted(embedded_studies()))
def test_every_study_that_ships_can_be_told_to_a_worker(name, monkeypatch, tmp_path):
    for variable in ("DND_IMAGES", "DND_HELD_OUT", "DND_EUROSAT", "DND_DATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    study = load_study(name, unset={})
    told = json.loads(json.dumps(study.model_dump(mode="json")))
    assert parse_study(told, study.folder) == study
