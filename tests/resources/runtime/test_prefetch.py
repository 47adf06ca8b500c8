"""Preparing ahead: order, errors, bounds."""

import threading
import time

import pytest

from dnd_assets.errors import StoreError
from resources.runtime.compute import Compute
from resources.runtime.prefetch import Ahead, Behind, Lazy

WORKERS = [0, 1, 3]


@pytest.mark.parametrize("workers", WORKERS)
def test_items_come_in_order_whatever_the_threads_do(workers):
    def slow_at_first(item):
        time.sleep(0.01 if item % 3 == 0 else 0)
        return item * item

    with Ahead(range(20), slow_at_first, workers, depth=4) as ready:
        found = [ready.take(start, start + 6) for start in range(0, 20, 6)]
    assert [one for part in found for one in part] == [item * item for item in range(20)]
    assert [len(part) for part in found] == [6, 6, 6, 2]


@pytest.mark.parametrize("workers", WORKERS)
def test_what_fails_raises_when_its_turn_comes(workers):
    def prepare(item):
        if item == 5:
            raise StoreError("image 5 is not where it was")
        return item

    with Ahead(range(9), prepare, workers, depth=9) as ready:
        assert ready.take(0, 3) == [0, 1, 2]
        assert ready.take(3, 5) == [3, 4]
        with pytest.raises(StoreError, match="image 5"):
            ready.take(5, 8)


def test_no_more_is_held_ready_than_asked_for():
    made, most = [], []
    with Ahead(range(40), made.append, 2, depth=5) as ready:
        for start in range(0, 40, 4):
            ready.take(start, start + 4)
            time.sleep(0.005)
            most.append(len(made) - start)
    assert max(most) <= 4 + 5
    assert len(made) == 40


def test_items_stay_ready_for_another_try_with_a_smaller_batch():
    made = []
    with Ahead(range(8), lambda item: made.append(item) or item, 1, depth=2) as ready:
        assert ready.take(0, 4) == [0, 1, 2, 3]
        assert ready.take(0, 2) == [0, 1]
        assert ready.take(2, 4) == [2, 3]
    assert made[:4] == [0, 1, 2, 3]
    assert len(made) == len(set(made)), "nothing was made twice"


def test_threads_end_when_the_reader_fails():
    def read():
        with Ahead(range(100), lambda item: time.sleep(0.001) or item, 3, depth=50) as ready:
            ready.take(0, 2)
            raise RuntimeError("the model broke")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="the model broke"):
        read()
    assert threading.active_count() == before


def test_the_model_runs_while_the_next_batch_is_prepared():
    """An item is prepared during the run of the batch before it."""
    running, overlapped = threading.Event(), []

    def prepare(item):
        if item >= 2:
            overlapped.append(running.wait(5))
        return item

    def run(batch):
        running.set()
        return batch

    compute = Compute(device="cpu", workers=1)
    assert compute.in_batches(range(6), run, 2, prepare=prepare) == list(range(6))
    assert overlapped == [True] * 4


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_of_prepared_items_are_those_of_the_plain_path(workers):
    sizes, given = [], []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise MemoryError
        return [item + 1 for item in batch]

    compute = Compute(device="cpu", workers=workers)
    found = compute.in_batches(
        range(7), run, 4, prepare=lambda item: 10 * item, pad=True,
        on_batch=lambda items, _: given.extend(items),
    )  # fmt: skip
    assert found == [10 * item + 1 for item in range(7)]
    assert [size for size in sizes if size <= 3] == [2, 2, 2, 2]
    assert given == list(range(7))


@pytest.mark.parametrize("threaded", [False, True])
def test_finishing_keeps_order(threaded):
    kept = []
    with Behind(lambda item: -item, kept.append, threaded=threaded) as push:
        for item in range(5):
            push(item)
    assert kept == [0, -1, -2, -3, -4]


def _push(items, finish, kept, threaded):
    with Behind(finish, kept.append, threaded=threaded) as push:
        for item in items:
            push(item)


@pytest.mark.parametrize("threaded", [False, True])
def test_what_was_made_before_a_failure_is_finished(threaded):
    def made():
        yield from (1, 2)
        raise RuntimeError("the painter broke")

    kept = []
    with pytest.raises(RuntimeError, match="the painter broke"):
        _push(made(), lambda item: item, kept, threaded)
    assert kept == [1, 2]


@pytest.mark.parametrize("threaded", [False, True])
def test_finishing_that_fails_is_told(threaded):
    def finish(item):
        raise OSError("disk full")

    kept = []
    with pytest.raises(OSError, match="disk full"):
        _push(range(3), finish, kept, threaded)
    assert kept == []


def test_the_next_item_is_made_while_one_is_finished():
    begun = threading.Event()

    def finish(item):
        assert begun.wait(5) or item
        return item

    kept = []
    with Behind(finish, kept.append, threaded=True) as push:
        push(0)
        begun.set()  # only the next item's maker says that the first may be finished
        push(1)
    assert kept == [0, 1]


def test_a_lazy_sequence_makes_items_when_asked():
    made = []
    lazy = Lazy(["a", "b", "c"], lambda name: made.append(name) or name.upper())
    assert len(lazy) == 3
    assert made == []
    assert lazy[1] == "B"
    assert list(lazy[1:]) == ["B", "C"]
    assert made == ["b", "b", "c"]
