"""An answer is kept as long as nothing that it rests on has changed, and no longer."""

import sys
import time

import pytest

from dnd_assets.engine import remembered
from dnd_assets.engine.remembered import Remembered
from dnd_assets.study.study import parse_study
from resources.lineage_db.database import Lineage
from tests import studies


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A study, its state folder, and a file that an answer is read from."""
    (tmp_path / "state" / "journal").mkdir(parents=True)
    # Where buckets were asked in this process nothing is kept; other tests may have done so.
    monkeypatch.delitem(sys.modules, "obstore", raising=False)
    (tmp_path / "fact").write_text("42")
    time.sleep(0.05)
    return parse_study(studies.table("blip", "clip", "sd"), tmp_path), tmp_path / "state"


def _keep(asked, *question):
    study, home = asked
    memory = Remembered.of(home, study, *question)
    with memory.working_out() as reads:
        answer = {"fact": (home.parent / "fact").read_text()}
        sorted((home / "journal").iterdir())
    memory.keep(answer, reads)
    return answer


def _recalled(asked, *question):
    study, home = asked
    return Remembered.of(home, study, *question).recall()


def test_an_answer_is_recalled_for_its_question_alone(asked):
    assert _recalled(asked, "plan", ["net"]) is None
    answer = _keep(asked, "plan", ["net"])
    assert _recalled(asked, "plan", ["net"]) == answer
    for other in (("plan", []), ("run", ["net"]), ("plan", ["net"], 4)):
        assert _recalled(asked, *other) is None


def _other_file(asked, monkeypatch):
    (asked[1].parent / "fact").write_text("43")


def _recorded(asked, monkeypatch):
    Lineage(root=str(asked[1])).commit({"removed": [{"file": "x", "recorded_at": "", "why": ""}]})


def _environment(asked, monkeypatch):
    monkeypatch.setenv("DND_OF_THIS_TEST", "1")


def _variable_gone(asked, monkeypatch):
    monkeypatch.delenv("DND_SET_BEFORE")


def _installed(asked, monkeypatch):
    (asked[1].parent / "library-2.0.dist-info").mkdir()


def _code(asked, monkeypatch):
    (asked[1].parent / "dnd_assets" / "code.py").write_text("changed = True")


def _cards(asked, monkeypatch):
    monkeypatch.setattr(remembered, "_cards", lambda: "a card that fell off its bus")


def _elsewhere(asked, monkeypatch):
    monkeypatch.chdir(asked[1].parent)


def _damaged(asked, monkeypatch):
    (file,) = (asked[1] / "remembered").iterdir()
    file.write_text(file.read_text().replace('"42"', '"43"'))


def _torn(asked, monkeypatch):
    (file,) = (asked[1] / "remembered").iterdir()
    file.write_bytes(file.read_bytes()[:-10])


def _unwritable(asked, monkeypatch):
    monkeypatch.setattr(remembered.os, "access", lambda *_: False)


CHANGES = (
    _other_file, _recorded, _environment, _variable_gone, _installed, _code, _cards, _elsewhere,
    _damaged, _torn, _unwritable,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_any_change_drops_the_answer(asked, monkeypatch, change):
    root = asked[1].parent
    (root / "dnd_assets").mkdir()
    (root / "dnd_assets" / "code.py").write_text("changed = False")
    monkeypatch.setattr(remembered, "_ROOT", root)
    monkeypatch.setenv("DND_SET_BEFORE", "1")
    monkeypatch.syspath_prepend(str(root))
    answer = _keep(asked, "doctor")
    assert _recalled(asked, "doctor") == answer

    change(asked, monkeypatch)

    assert _recalled(asked, "doctor") is None


def test_another_setting_is_another_question(asked):
    _keep(asked, "plan")
    home = asked[1]
    other = parse_study(studies.table("blip", "other-clip", "sd"), home.parent)
    assert Remembered.of(home, other, "plan").recall() is None


def test_shells_may_count_their_windows(asked, monkeypatch):
    answer = _keep(asked, "plan")
    monkeypatch.setenv("COLUMNS", "61")
    monkeypatch.setenv("SHLVL", "9")
    assert _recalled(asked, "plan") == answer


def test_what_buckets_say_is_not_kept(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", sys)
    _keep(asked, "plan")
    assert _recalled(asked, "plan") is None


def test_an_answer_that_was_worked_out_while_something_changed_is_not_kept(asked):
    study, home = asked
    memory = Remembered.of(home, study, "plan")
    with memory.working_out() as reads:
        (home.parent / "fact").read_text()
        (home.parent / "fact").write_text("43")
    memory.keep({"fact": "42"}, reads)
    assert _recalled(asked, "plan") is None


def test_a_disk_that_takes_nothing_only_costs_time(asked, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnd_assets.files.atomic.write", full)
    assert _keep(asked, "plan")
    assert _recalled(asked, "plan") is None
    assert not list((asked[1] / "remembered").iterdir())


def test_old_answers_go(asked, monkeypatch):
    monkeypatch.setattr(remembered, "_MOST_FILES", 2)
    for number in range(4):
        _keep(asked, "plan", number)
        time.sleep(0.02)
    assert [_recalled(asked, "plan", number) is not None for number in range(4)] == [
        False, False, True, True,
    ]  # fmt: skip
