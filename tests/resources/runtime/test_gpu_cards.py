"""Which cards a process sees: the mapping; no card is here."""

import os
import sys
from types import SimpleNamespace

import pytest

from dnd_assets.errors import StudyError
from resources.runtime import gpu_cards
from resources.runtime.gpu_cards import VISIBLE, only_card, spread, visible_cards


@pytest.mark.parametrize(
    ("shown", "there", "names"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,5", 2, ["2", "5"]),
        ("GPU-1a, MIG-2b", 2, ["GPU-1a", "MIG-2b"]),
        ("", 0, []),
        ("0,1,2", 2, ["0", "1"]),
    ],
)
def test_the_names_of_cards(shown, there, names):
    assert visible_cards(shown, there) == names


def test_workers_take_cards_in_turn():
    assert spread(["a", "b"], 5) == ["a", "b", "a", "b", "a"]
    assert spread([], 2) == ["", ""]


@pytest.mark.parametrize(
    ("at_first", "device", "card"),
    [(None, "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("4,6", "cuda", "4,6"), (None, "cpu", None)],
)
def test_one_card_is_shown(at_first, device, card, monkeypatch):
    monkeypatch.setattr(gpu_cards, "_AT_FIRST", at_first)
    monkeypatch.delenv(VISIBLE, raising=False)
    if at_first is not None:
        monkeypatch.setenv(VISIBLE, at_first)
    only_card(device)
    only_card(device)
    assert os.environ.get(VISIBLE) == card


def test_a_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(gpu_cards, "_AT_FIRST", "4,6")
    monkeypatch.setenv(VISIBLE, "4,6")
    with pytest.raises(StudyError, match=r"no device 'cuda:2': .* shows this process 2 cards"):
        only_card("cuda:2")


def test_a_process_that_uses_other_cards_already_is_told(monkeypatch):
    monkeypatch.setattr(gpu_cards, "_AT_FIRST", None)
    monkeypatch.setenv(VISIBLE, "0")
    busy = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", busy)
    with pytest.raises(StudyError, match="uses CUDA already"):
        only_card("cuda:1")
