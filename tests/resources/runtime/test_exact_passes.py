"""Exact passes: fixed shapes, threads of their own, copies that share weights."""

import threading

import pytest
import torch
from torch import nn

from resources.runtime.compute import Compute
from resources.runtime.exact_passes import (
    ALONE,
    PAIR,
    TOGETHER,
    Exact,
    ThreadCopies,
    exact_of,
    exactly,
    reads_weights,
    rows_are_alone,
    shared_copy,
)


@pytest.mark.parametrize("how", [ALONE, Exact(4), Exact(3, at_once=True), Exact(8, at_once=True)])
@pytest.mark.parametrize("count", [1, 4, 11])
def test_calls_have_one_shape_and_results_the_order_of_items(how, count):
    shapes = []

    def run(items):
        shapes.append(len(items))
        return [10 * item for item in items]

    items = list(range(count))
    assert exactly(run, how)(items) == [10 * item for item in items]
    assert set(shapes) == {how.together}


def test_calls_at_once_split_nothing_between_threads():
    seen = set()

    def run(items):
        seen.add((threading.current_thread().name.partition("_")[0], torch.get_num_threads()))
        return items

    before = torch.get_num_threads()
    exactly(run, Exact(at_once=True))(list(range(6)))
    assert seen == {("exact", 1)}
    assert torch.get_num_threads() == before


def test_an_error_of_a_call_is_raised():
    def run(items):
        raise ValueError(f"bad {items[0]}")

    with pytest.raises(ValueError, match="bad 3"):
        exactly(run, Exact(at_once=True))([3, 4])
    with pytest.raises(ValueError, match="2 items gave 1"):
        Compute(device="cpu").in_batches([1, 2], lambda batch: batch[:0] or [1], 2)


def test_copies_share_weights_but_no_hooks():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    copied = shared_copy(module)
    assert all(a is b for a, b in zip(module.parameters(), copied.parameters(), strict=True))
    assert all(a is b for a, b in zip(module.buffers(), copied.buffers(), strict=True))
    copied[0].register_forward_hook(lambda *_: None)
    assert not module[0]._forward_hooks
    copies = ThreadCopies(module)
    assert copies.here() is copies.here() is not module
    others = []
    thread = threading.Thread(target=lambda: others.append(copies.here()))
    thread.start()
    thread.join()
    assert others[0] is not copies.here()


@pytest.mark.parametrize("together", [PAIR, TOGETHER])
def test_rows_that_hear_of_others_are_found_out(together):
    rows = torch.randn(2 * together, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    assert rows_are_alone(lambda items: items @ weights, rows)
    assert not rows_are_alone(lambda items: items - items.mean(dim=0), rows)
    assert not rows_are_alone(lambda items: items + torch.arange(len(items))[:, None], rows)


@pytest.mark.parametrize(
    ("module", "together"),
    [(nn.Conv2d(3, 8, 3), PAIR), (nn.Linear(5_000, 5_000), TOGETHER)],
    ids=["convolutions", "large matrices"],
)
def test_more_go_together_where_weights_are_most_of_what_is_read(module, together):
    assert reads_weights(module) == (together == TOGETHER)

    def rows(count):
        return torch.ones(count, 1) * torch.arange(count)[:, None]

    assert exact_of(module, lambda items: items * 2, rows) == Exact(together, at_once=True)
    mixing = exact_of(module, lambda items: items - items.mean(dim=0), rows)
    assert mixing == Exact(1, at_once=True)

    def one_only(items):
        raise RuntimeError(f"one picture is taken, not {len(items)}")

    assert exact_of(module, one_only, rows) == Exact(1, at_once=True)
