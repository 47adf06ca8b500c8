"""The search for a batch size, on a device of known speed."""

import json

import pytest
import torch

from resources.runtime.batch_size import fastest
from resources.runtime.compute import Compute
from tests.studies import changed, label, versions


class Device:
    """Takes `start` seconds for a batch and `each` for an item; holds `room` items."""

    def __init__(self, start, each, room=10**9):
        self.start, self.each, self.room = start, each, room
        self.now, self.sizes = 0.0, []

    def trial(self, size):
        self.sizes.append(size)

        def run(batch):
            if len(batch) > self.room:
                raise torch.OutOfMemoryError("full")
            self.now += self.start + self.each * len(batch)
            return batch

        Compute(device="cpu").in_batches(range(size), run, size)

    def fastest(self, usual, **more):
        return fastest(self.trial, usual, clock=lambda: self.now, **more)


def test_it_grows_while_items_a_second_grow_by_a_tenth():
    """8: 8/18 = .44 a second, 16: .62, 32: .76, 64: .86 (+13 %), 128: .93 (+7 %, too little)."""
    device = Device(start=10, each=1)
    assert device.fastest(8) == 64
    assert device.sizes == [8, 8, 16, 16, 32, 32, 64, 64, 128, 128]


def test_the_first_batch_of_a_size_is_not_timed():
    """It compiles: at 100 s for each new size nothing would ever seem worth it."""
    device = Device(start=10, each=1)

    def trial(size):
        if size not in device.sizes:
            device.now += 100
        device.trial(size)

    assert fastest(trial, 8, clock=lambda: device.now) == 64


def test_it_stays_where_size_gains_nothing():
    assert Device(start=0, each=1).fastest(16) == 16


def test_it_stops_where_memory_ends():
    device = Device(start=1000, each=1, room=100)
    assert device.fastest(16) == 64
    assert device.sizes[-1] == 128


def test_it_does_not_try_what_cannot_fit():
    device = Device(start=1000, each=1, room=100)
    assert device.fastest(16, in_use=lambda: device.sizes[-1] / 100) == 64
    assert 128 not in device.sizes


def test_it_shrinks_to_what_fits():
    assert Device(start=1, each=1, room=5).fastest(16) == 4


def test_an_item_that_does_not_fit_is_told():
    with pytest.raises(MemoryError):
        Device(start=1, each=1, room=0).fastest(16)


def test_other_errors_pass():
    def broken(size):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fastest(broken, 4)


def auto(colours):
    roles = ("target", "captioner", "text_to_image", "clip")
    return changed(colours, **{f"compute__batch__{role}": "auto" for role in roles})


def assert_alike(found, expected):
    """Equal but for numbers next to a rounding step, which another batch size may round apart."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    else:
        near = isinstance(expected, float)
        assert found == (pytest.approx(expected, rel=2**-12) if near else expected)


def test_a_study_finds_and_keeps_sizes_and_its_results_do_not_change(
    colours, colour_folder, labelled, monkeypatch
):
    """As if beside an accelerator: pictures are stored behind, and sizes are looked for."""
    monkeypatch.setattr(Compute, "accelerated", property(lambda self: True))
    monkeypatch.setattr("resources.runtime.batch_size.MOST", 32)
    lines = []
    table = auto(colours)
    found = label(table, colour_folder, log=lines.append)
    before = labelled[1]
    assert {pair for pair in found if versions(found)[pair] != versions(before)[pair]} <= {
        pair for pair in found if pair[0] in ("scores", "labels")
    }
    for pair, one in found.items():
        assert_alike(one.product.payload, before[pair].product.payload)
    searched = [line for line in lines if "looking for the fastest" in line]
    assert len(searched) == 4
    sizes = json.loads((colour_folder / "state" / "batch_sizes.json").read_text())
    assert len(sizes) == 4
    assert all(isinstance(size, int) and size >= 1 for size in sizes.values())

    again = changed(table, dissection__seed=1)
    label(again, colour_folder, log=lines.append)
    assert len([line for line in lines if "looking for" in line]) == 4


def test_torn_notes_of_sizes_are_found_again(tmp_path):
    from dnd_assets.engine.batch_sizes import _read

    file = tmp_path / "batch_sizes.json"
    assert _read(file) == {}
    file.write_text('{"a": 8, "b"')
    assert _read(file) == {}
    file.write_text('{"a": 8, "b": "many", "c": -1}')
    assert _read(file) == {"a": 8}


def test_on_the_cpu_the_usual_sizes_stand(colours, colour_folder):
    from dnd_assets.engine.batch_sizes import with_batch_sizes
    from dnd_assets.engine.context_builder import build_context
    from dnd_assets.study.study import parse_study

    context = build_context(parse_study(auto(colours), colour_folder), colour_folder / "state")
    assert with_batch_sizes(context, ["targets", "clip"]) is context
    assert context.study.compute.batch.target == 64
    assert context.study.compute.batch.auto == ["target", "captioner", "text_to_image", "clip"]
    assert parse_study(context.study.model_dump(mode="json"), colour_folder) == context.study


def test_a_size_in_words_is_refused(colours, colour_folder):
    from dnd_assets.errors import StudyError
    from dnd_assets.study.study import parse_study

    wrong = changed(colours, compute__batch__clip="large")
    with pytest.raises(StudyError, match=r"'large' is no size of a batch; .* \"auto\""):
        parse_study(wrong, colour_folder)
