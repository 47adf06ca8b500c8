"""A run killed at any moment resumes; two runs at once lose and duplicate nothing."""

import json
import random
import signal
import time
from collections import Counter

import pytest
from werkzeug.wrappers import Response

from dnd_assets import verify
from dnd_assets.bench import build_bench
from dnd_assets.study import parse_study
from tests import studies
from tests.processes import CONTEXT

KILLS = 5


def _label(table, folder, run):
    """What the killed process does; it must be importable by name."""
    import torch

    torch.set_num_threads(1)
    studies.label(table, folder, run=run)


def _products(bench):
    sql = (
        "SELECT DISTINCT asset, unit, key, data_version FROM materializations "
        "WHERE asset <> 'probing_set' ORDER BY ALL"
    )
    return bench.lineage.query(sql)


def _wait_for_commits(bench, process, count):
    """Until the run has committed so many times: it is killed at work, not while it starts."""
    before = len(list(bench.lineage.journal.glob("*.json")))
    while process.is_alive():
        if len(list(bench.lineage.journal.glob("*.json"))) >= before + count:
            return
        time.sleep(0.002)


@pytest.fixture
def fresh(labelled, colours, tmp_path):
    """An empty state folder over the same images as the labelled study, and that study's bench."""
    folder, _ = labelled
    table = studies.changed(colours, probing_set__folders=[str(folder / "images")])
    bench = build_bench(parse_study(table, tmp_path), tmp_path / "state")
    whole = build_bench(parse_study(colours, folder), folder / "state")
    return table, tmp_path, bench, _products(whole)


def test_killed_runs_resume_to_the_same_products(fresh):
    table, folder, bench, whole = fresh
    dice = random.Random(0)
    for attempt in range(KILLS):
        process = CONTEXT.Process(target=_label, args=(table, folder, f"run {attempt}"))
        process.start()
        _wait_for_commits(bench, process, dice.randint(2, 7))
        time.sleep(dice.uniform(0.0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run was over before it could be killed"
        assert not verify.verify(bench).changed, "nothing torn is ever trusted"
    studies.label(table, folder, run="last")
    assert _products(bench) == whole
    assert verify.verify(bench).clean


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
    table, folder, bench, _ = fresh
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(_answer)
    server = {"kind": "chat", "base_url": httpserver.url_for("/v1"), "model": "m"}
    server |= {"api_key_env": "", "max_concurrency": 2}
    table = studies.changed(table, summariser=server)
    studies.label(table, folder, run="before", last="captions")
    kills = 0
    for attempt in range(4):
        process = CONTEXT.Process(target=_label, args=(table, folder, f"run {attempt}"))
        process.start()
        paid = len(httpserver.log)
        while process.is_alive() and len(httpserver.log) < paid + 3:
            time.sleep(0.005)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    studies.label(table, folder, run="last")
    asked = Counter(request.get_data() for request, _ in httpserver.log)
    stored = bench.lineage.query("SELECT count(*) AS n FROM llm_calls")[0]["n"]
    assert kills >= 2
    assert stored == len(asked)
    again = sum(asked.values()) - len(asked)
    assert again <= 2 * kills, "only what was under way when it was killed"
    known = len(httpserver.log)
    studies.label(studies.changed(table, dissection__beta=2), folder, run="replayed")
    assert len(httpserver.log) == known


def test_two_runs_at_once_give_what_one_gives(fresh):
    table, folder, bench, whole = fresh
    pair = [
        CONTEXT.Process(target=_label, args=(table, folder, name)) for name in ("left", "right")
    ]
    for process in pair:
        process.start()
    for process in pair:
        process.join(timeout=120)
        assert process.exitcode == 0
    assert _products(bench) == whole
    sql = (
        "SELECT run, asset, unit, count(*) AS n, bool_and(reused) AS reused "
        "FROM materializations WHERE asset <> 'probing_set' GROUP BY ALL"
    )
    rows = bench.lineage.query(sql)
    assert {row["n"] for row in rows} == {1}
    assert len(rows) == 2 * len(whole)
    computed = [(row["asset"], row["unit"]) for row in rows if not row["reused"]]
    assert len(computed) == len(set(computed)) == len(whole), "each product computed by one run"
    assert verify.verify(bench).clean
