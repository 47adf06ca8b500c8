"""A `dnd run` killed at any moment resumes; two at once lose and duplicate nothing."""

import json
import random
import signal
import time
from collections import Counter

import pytest
from werkzeug.wrappers import Response

from dnd_assets.engine import verify
from dnd_assets.engine.context_builder import build_context
from dnd_assets.study.study import parse_study
from tests import commands, studies
from tests.command_line import toml
from tests.processes import command

KILLS = 2
"""`python -m benchmarks kills` takes fifty."""

pytestmark = pytest.mark.timeout(900)  # each wait has a limit of its own


def _products(context):
    sql = (
        "SELECT DISTINCT asset, unit, key, data_version FROM materializations "
        "WHERE asset <> 'probing_set' ORDER BY ALL"
    )
    return context.lineage.query(sql)


def _wait_for_commits(context, process, count):
    """Until the run has committed so many times: it is killed at work, not while it starts."""
    before = len(list(context.lineage.journal.glob("*.json")))
    while process.is_alive():
        if len(list(context.lineage.journal.glob("*.json"))) >= before + count:
            return
        time.sleep(0.002)


@pytest.fixture
def fresh(labelled, colours, tmp_path):
    """An empty state folder over the images of the labelled study, and that study's context."""
    folder, _ = labelled
    table = studies.changed(colours, probing_set__folders=[str(folder / "images")])
    context = build_context(parse_study(table, tmp_path), tmp_path / "state")
    whole = build_context(parse_study(colours, folder), folder / "state")
    _write(table, tmp_path)
    return table, tmp_path, context, _products(whole)


def _write(table, folder):
    """The study file that `dnd run` reads."""
    (folder / "study.toml").write_text(toml(table), encoding="utf-8")


def _run(folder):
    """A `dnd run` to its end; what it printed."""
    process = command(folder, "run")
    process.join(240)
    text = commands.said(folder)
    assert process.exitcode == 0, text
    return text


def test_killed_runs_resume_to_the_same_products(fresh):
    _, folder, context, whole = fresh
    dice = random.Random(0)
    for _ in range(KILLS):
        process = command(folder, "run")
        _wait_for_commits(context, process, dice.randint(2, 7))
        time.sleep(dice.uniform(0.0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run was over before it could be killed"
        assert not verify.verify(context).changed, "nothing torn is ever trusted"
        dead = [run for run, status in commands.runs(folder).items() if status == "STARTED"]
        assert len(dead) <= 1, "each start marks the run that was killed before"
    text = _run(folder)
    assert all(f"run {run[:8]} of colours was killed; marked failed" in text for run in dead)
    assert set(commands.runs(folder).values()) == {"FAILURE", "SUCCESS"}
    assert _products(context) == whole
    assert verify.verify(context).clean


def _answer(request):
    """A short concept for every description, a moment later."""
    time.sleep(0.05)
    body = request.get_json()
    listed = json.loads(body["messages"][-1]["content"].rpartition("\n")[2])
    short = [f"thing {index}" for index, _ in enumerate(listed)]
    several = body["response_format"]["json_schema"]["name"] == "concepts"
    content = {"concepts": short} if several else {"concept": f"{listed[0]} group"}
    message = {"role": "assistant", "content": json.dumps(content)}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Response(json.dumps(answer), content_type="application/json")


def test_a_stored_answer_of_a_language_model_is_never_paid_for_again(fresh, httpserver):
    table, folder, context, _ = fresh
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(_answer)
    server = {"kind": "chat", "base_url": httpserver.url_for("/v1"), "model": "m"}
    server |= {"api_key_env": "", "max_concurrency": 2}
    table = studies.changed(table, summariser=server)
    studies.label(table, folder, run="before", last="captions")
    _write(table, folder)
    kills = 0
    for _ in range(3):
        process = command(folder, "run")
        paid = len(httpserver.log)
        while process.is_alive() and len(httpserver.log) < paid + 3:
            time.sleep(0.005)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    _run(folder)
    asked = Counter(request.get_data() for request, _ in httpserver.log)
    stored = context.lineage.query("SELECT count(*) AS n FROM llm_calls")[0]["n"]
    assert kills >= 2
    assert stored == len(asked)
    again = sum(asked.values()) - len(asked)
    assert again <= 2 * kills, "only what was under way when it was killed"
    known = len(httpserver.log)
    studies.label(studies.changed(table, dissection__beta=2), folder, run="replayed")
    assert len(httpserver.log) == known


def test_two_runs_at_once_give_what_one_gives(fresh):
    _, folder, context, whole = fresh
    pair = [command(folder, "run") for _ in range(2)]
    for process in pair:
        process.join(timeout=240)
        assert process.exitcode == 0, commands.said(folder)
    assert _products(context) == whole
    sql = (
        "SELECT run, asset, unit, count(*) AS n, bool_and(reused) AS reused "
        "FROM materializations WHERE asset <> 'probing_set' GROUP BY ALL"
    )
    rows = context.lineage.query(sql)
    assert {row["n"] for row in rows} == {1}
    assert len(whole) <= len(rows) <= 2 * len(whole), "what is up to date is left out"
    computed = [(row["asset"], row["unit"]) for row in rows if not row["reused"]]
    assert len(computed) == len(set(computed)) == len(whole), "each product computed by one run"
    assert verify.verify(context).clean
