"""Parts that workers do: the same as one process does, each once, whoever is lost meanwhile."""

import os
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.workers.handing_out import MOST_LOST, hand_out
from dnd_assets.engine.workers.parts import Part
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.errors import LineageError, StudyError, WorkerError
from dnd_assets.study.study import parse_study
from tests import studies
from tests.engine.workers import jobs
from tests.engine.workers.whole_state import state

PARTS = [Part([str(2 * n), str(2 * n + 1)]) for n in range(6)]


class InThreads(Workers):
    """Parts are done by threads of this process, as workers do them."""

    made = 0

    def _new_executor(self):
        self.made += 1
        return ThreadPoolExecutor(2)


class Losing(Executor):
    """Loses every third part that it is given, or all of some."""

    def __init__(self, error=None, always=(), at_submit=False):
        self.given, self.error, self.always = 0, error or RuntimeError("gone"), always
        self.at_submit = at_submit

    def submit(self, fn, /, *args, **kwargs):
        self.given += 1
        lost = self.given % 3 == 0 if not self.always else any(x in args[0] for x in self.always)
        if lost and self.at_submit:
            raise self.error
        future = Future()
        if lost:
            future.set_exception(self.error)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def context(colours, colour_folder):
    lines = []
    found = build_context(
        parse_study(colours, colour_folder), colour_folder / "state", lines.append
    )
    return replace(found, workers=InThreads("local:2", colour_folder))


def said(context):
    return context.log.__self__


def with_executor(context, executor):
    context.workers._executor = executor
    return context


def test_each_part_comes_back_once_recorded_and_counted(context):
    found = {part.items[0]: made for part, made in hand_out(context, jobs.doubled, PARTS)}
    assert {first: made.values for first, made in found.items()} == {
        str(2 * n): [4 * n, 4 * n + 2] for n in range(6)
    }
    assert all(made.arrays["ones"].tolist() == [1, 1] for made in found.values())
    assert context.tally == {"numbers": 12}
    assert len(context.lineage.shared_items("number", "x")) == 6
    assert said(context).count("2 numbers") == 6
    account = context.workers.account
    assert (account.parts, account.lost, account.devices) == (6, 0, [context.compute.name()])
    assert account.summary == "6 parts by 1 worker"


def test_one_process_does_the_same(context):
    alone = replace(context, workers=Workers())
    found = [made.values for _, made in hand_out(alone, jobs.doubled, PARTS)]
    assert found == [[4 * n, 4 * n + 2] for n in range(6)]
    assert alone.tally == {"numbers": 12}
    assert (alone.workers.account.parts, alone.workers.account.summary) == (6, "")


@pytest.mark.parametrize(
    ("error", "at_submit"),
    [
        (RuntimeError("the node vanished"), False),
        (BrokenExecutor("killed"), False),
        (BrokenExecutor("killed"), True),
    ],
)
def test_a_lost_part_is_done_again_and_said(context, error, at_submit):
    with_executor(context, Losing(error, at_submit=at_submit))
    found = sorted(made.values[0] for _, made in hand_out(context, jobs.doubled, PARTS))
    assert found == [4 * n for n in range(6)]
    assert context.tally == {"numbers": 12}
    assert context.workers.account.lost >= 1
    assert f"{context.workers.account.lost:,} lost and handed out again" in (
        context.workers.account.summary
    )
    assert any("were lost by local:2" in line and str(error) in line for line in said(context))
    assert context.workers.made == isinstance(error, BrokenExecutor)


def test_a_part_that_is_always_lost_ends_the_run_after_all_others(context):
    with_executor(context, Losing(always=['"items": ["4"']))
    found = []
    with pytest.raises(WorkerError, match=r"2 items, the first '4'.* was lost .* gone") as error:
        found.extend(one[1].values[0] for one in hand_out(context, jobs.doubled, PARTS))
    assert sorted(found) == [0, 4, 12, 16, 20]
    assert "Run again; finished work is kept" in str(error.value)
    assert MOST_LOST < context.workers.account.lost <= MOST_LOST + 2


def test_an_error_of_a_part_is_of_its_class_and_the_others_are_kept(context):
    kept = []
    with pytest.raises(StudyError, match="no 3, please"):
        kept.extend(part.items[0] for part, _ in hand_out(context, jobs.refusing, PARTS))
    assert "0" in kept
    assert "2" not in kept


@pytest.mark.parametrize(
    ("job", "kind", "words"),
    [
        (jobs.faulty, WorkerError, "KeyError: 'what nobody wrote'"),
        (jobs.asking, LineageError, "a worker has asked .SELECT 1.*only the coordinator may"),
        (jobs.agreeing, WorkerError, "another model, weights, libraries or kind of device"),
    ],
)
def test_what_workers_may_not_do_is_an_error_in_words(context, job, kind, words):
    with pytest.raises(kind, match=words):
        list(hand_out(context, job, [Part(["1"], provider="elsewhere")]))
    assert context.workers.account.lost == 0


def test_workers_with_other_code_are_refused(context, monkeypatch):
    monkeypatch.setattr("dnd_assets.engine.workers.handing_out.version_of", lambda _: "older")
    with pytest.raises(WorkerError, match=r"other code of .*jobs:doubled"):
        list(hand_out(context, jobs.doubled, PARTS[:1]))


class Killing(Workers):
    """Kills one of its processes, the first time that parts are out with each of them."""

    killed = 0

    def executor(self):
        found = super().executor()
        processes = list((found._processes or {}).values())
        if not self.killed and self.account.parts and processes:
            os.kill(processes[0].pid, signal.SIGKILL)
            self.killed += 1
        return found


def test_a_study_by_processes_of_which_one_is_killed(colours, labelled, tmp_path):
    """Products, store files, shared results and counted work are those of one process."""
    folder, _ = labelled
    workers, lines = Killing("local:2", folder), []
    table = studies.changed(colours, compute__workers="local:2")
    found = studies.label(table, folder, home=tmp_path / "state", workers=workers, log=lines.append)
    workers.close()
    assert workers.killed == 1
    assert any("are handed out again" in line for line in lines)
    alone, together = state(colours, folder), state(colours, folder, tmp_path / "state")
    for what in alone:
        assert together[what] == alone[what], what
    context = build_context(parse_study(colours, folder), tmp_path / "state")
    rows = context.lineage.query("SELECT * FROM workers WHERE asset = 'captions'")
    assert len(rows) in (1, 2)
    assert all(row["device"].startswith("cpu") and row["parts"] for row in rows)
    assert sum(
        row["lost"] for row in context.lineage.query("SELECT max(lost) AS lost FROM workers")
    )
    assert found["captions", "net/colours/0"].parts.endswith(("1 worker", "2 workers"))
