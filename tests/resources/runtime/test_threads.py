"""How many threads torch uses: the fastest number, found by trying, and found again."""

import pytest
import torch

from resources.runtime import threads
from resources.runtime.compute import Compute
from resources.runtime.exact_passes import ALONE
from resources.runtime.progress import Progress
from resources.runtime.threads import ThreadChoice, fastest_threads, in_threads


def test_work_in_threads_keeps_its_order_and_tells_what_failed():
    assert in_threads(lambda number: number**2, range(50)) == [number**2 for number in range(50)]
    assert in_threads(str, []) == []
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda number: 1 // number, [1, 0, 2])


class Machine:
    """A clock, and how long an item takes with so many threads."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        return self.now

    def work(self, choice, calls, items=1):
        """The numbers of threads of so many calls."""
        used = []
        for _ in range(calls):
            used.append(choice.next())
            spent = self.seconds[used[-1]] * items
            self.now += spent
            choice.record(items, spent)
        return used


def test_what_was_fastest_is_kept_and_a_first_call_tells_nothing():
    machine = Machine({1: 0.1, 2: 2.0})
    choice = ThreadChoice([1, 2], machine)

    assert machine.work(choice, 5) == [1, 1, 2, 1, 2]
    assert choice.count == 1
    assert choice.rates == pytest.approx({1: 10.0, 2: 0.5})
    assert machine.work(choice, 50) == [1] * 50
    assert str(choice) == "1 thread; tried: 10/s with 1, 0.5/s with 2"


def test_more_threads_have_to_be_clearly_faster():
    slightly, clearly = (Machine({1: 1.0, 2: seconds}) for seconds in (0.9, 0.5))
    for machine, best in ((slightly, 1), (clearly, 2)):
        choice = ThreadChoice([1, 2], machine)
        machine.work(choice, 5)
        assert choice.count == best


def test_a_change_of_load_is_found_and_trials_take_a_twentieth_at_most():
    machine = Machine({1: 0.1, 4: 0.05})
    choice = ThreadChoice([1, 4], machine)
    machine.work(choice, 5)
    assert choice.count == 4
    machine.seconds = {1: 0.1, 4: 1.0}  # others have come
    used = machine.work(choice, 400)
    assert choice.count == 1
    machine.work(choice, 1_000)
    tail_started, used = machine.now, machine.work(choice, 2_000)
    assert used.count(4) * 1.0 <= (machine.now - tail_started) / 20 + 1.0


@pytest.fixture
def two_threads(monkeypatch):
    for name in threads.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_choices", {})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_calls_run_with_it_once_it_is_said_and_the_number_is_as_before(two_threads):
    seen, lines = [], []

    def run(batch):
        seen.append(torch.get_num_threads())
        return batch

    progress = Progress("pictures", 12, lines.append)
    assert Compute(device="cpu").in_batches(range(12), run, 4, exact=ALONE, progress=progress) == [
        *range(12)
    ]
    assert seen[:5] == [1, 1, 2, 1, 2]
    assert len(seen) == 12
    assert torch.get_num_threads() == 2
    assert [line for line in lines if "tried: " in line and line.startswith("pictures: ")]


@pytest.mark.parametrize("name", threads.CHOSEN_BY_USER)
def test_a_number_that_the_user_chose_stays(two_threads, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with fastest_threads(len) as call:
        assert call is len
    torch.set_num_threads(1)
    monkeypatch.delenv(name)
    with fastest_threads(len) as call:
        assert call is len
