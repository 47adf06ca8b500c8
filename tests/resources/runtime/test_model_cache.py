"""Which models stay in memory, and which go."""

import pytest
import torch
from torch import nn

from resources.runtime import model_cache
from resources.runtime.compute import Compute
from resources.runtime.model_cache import (
    limit_models,
    load_once,
    loaded_models,
    model_bytes,
    unload_others,
)
from tests.studies import changed, label, versions

SIZE = 1_000_000
"""Bytes of a model here."""


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    """Nothing loaded, and nothing of it left over."""
    monkeypatch.setattr(model_cache, "_loaded", {})
    monkeypatch.setattr(model_cache, "_sizes", {})
    yield
    limit_models(None)


class Shop:
    """Loads models of 1 MB by name, and counts."""

    def __init__(self):
        self.loads = []

    def __call__(self, name):
        def load():
            self.loads.append(name)
            return nn.Linear(SIZE // 4, 1, bias=False), "its tokenizer"

        return load_once(name, load)


def test_models_load_once_without_a_limit():
    shop = Shop()
    first = shop("a")
    for name in "bcda":
        shop(name)
    assert shop("a") is first
    assert shop.loads == list("abcd")


def test_the_least_recently_used_model_goes_first():
    shop = Shop()
    limit_models(2.5e-3)
    for name in "ab":
        shop(name)
    shop("a")
    shop("c")
    assert loaded_models() == ["a", "c"]
    shop("b")
    assert loaded_models() == ["c", "b"]
    assert shop.loads == list("abcb")


def test_a_stage_that_starts_keeps_to_the_limit():
    shop = Shop()
    for name in "abc":
        shop(name)
    limit_models(2e-3)
    assert loaded_models() == ["b", "c"]


def test_room_is_made_before_a_known_model_is_loaded_again():
    """Its size is known by then, so that at no time more than the limit is in memory."""
    shop, seen = Shop(), []
    limit_models(2e-3)
    for name in "abc":
        shop(name)
    load_once("a", lambda: seen.append(loaded_models()) or nn.Linear(SIZE // 4, 1, bias=False))
    assert seen == [["c"]]


def test_a_model_larger_than_the_limit_is_alone():
    shop = Shop()
    limit_models(1e-6)
    shop("a")
    shop("b")
    assert loaded_models() == ["b"]


def test_what_is_no_model_stays():
    limit_models(1e-6)
    card = load_once("card", lambda: {"layers": 3})
    Shop()("a")
    unload_others()
    assert load_once("card", lambda: None) is card


def test_a_model_in_use_outlives_its_unloading():
    shop = Shop()
    model, _ = shop("a")
    shop("b")
    assert unload_others() == 1
    assert model(torch.ones(1, SIZE // 4)).shape == (1, 1)


def test_memory_that_runs_out_while_loading_frees_the_others():
    shop, tries = Shop(), []
    shop("a")

    def load():
        tries.append(loaded_models())
        if tries[-1]:
            raise torch.OutOfMemoryError("full")
        return nn.Linear(3, 1)

    load_once("big", load)
    assert tries == [["a"], []]
    assert loaded_models() == ["big"]


def test_memory_too_small_for_one_model_says_so():
    def load():
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        load_once("big", load)


def test_a_batch_that_does_not_fit_frees_other_models_before_it_shrinks():
    shop, sizes = Shop(), []
    shop("a")
    shop("mine")

    def run(batch):
        sizes.append(len(batch))
        if "a" in loaded_models():
            raise torch.OutOfMemoryError("full")
        return list(batch)

    assert Compute(device="cpu").in_batches(range(8), run, 4) == list(range(8))
    assert sizes == [4, 4, 4]
    assert loaded_models() == ["mine"]


def test_bytes_of_whatever_holds_models():
    layer = nn.Linear(10, 5)

    class Pipeline:
        def __init__(self):
            self.components = {"unet": layer, "tokenizer": object(), "again": layer}

    class Encoder:
        def __init__(self):
            self._model, self.width = layer, 3

    size = 4 * (10 * 5 + 5)
    assert [model_bytes(one) for one in (layer, (layer, 1), Pipeline(), Encoder())] == [size] * 4
    assert model_bytes({"names": ["x"]}) == 0


def test_a_whole_study_runs_with_one_model_at_a_time(colours, labelled, colour_folder):
    table, most = changed(colours, compute__models_gb=1e-9), []
    alone = label(table, colour_folder, log=lambda _: most.append(len(loaded_models())))
    assert versions(alone) == versions(labelled[1])
    assert max(most) == 1
