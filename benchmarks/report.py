"""The atlas of thousands of units: how large, how fast to build, how fast to open and search."""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.setting import Figure, Table
from dnd_assets.engine.context_builder import build_context
from dnd_assets.report.build import build_report
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests import studies
from tests.report import browser, made

_SHELL = ("index.html", "atlas.css", "atlas.js", "data-units.js")
_LAYERS = 4
_QUERIES = (
    "stripes", "a", "red", "red dots", "layer3/99", "net", "zebra", "label", "", "41", "blue s",
    "no such thing", "dots on blue", "e", "net/layer2",
)  # fmt: skip
_WORDS = ("red", "blue", "striped", "furry", "round", "tall", "wet", "old")
_THINGS = ("dog", "wheel", "leaf", "brick", "sky", "hand", "zebra", "letter", "dots", "stripes")
_SEARCH = """async (queries) => {
  const box = document.getElementById("query");
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  const found = [];
  for (const query of queries) {
    await frame();
    const start = performance.now();
    box.value = query;
    box.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();
    const laid = performance.now() - start;
    await frame();
    found.push([laid, performance.now() - start]);
  }
  return found;
}"""


def atlas(table: Table, folder: Path, units: int = 4_000) -> list[Figure]:
    """Build, rebuild, open and search the report of so many units with pictures."""
    state = _state(table, folder, units)
    place = folder / "atlas"
    spent = time.process_time()
    first = build_report(state.context, place)
    spent = time.process_time() - spent
    again = build_report(state.context, place)
    some = [_unit(number, units) for number in range(0, units, 100)]
    made.record(state, some, made.Texts(label=lambda n: f"changed {n}"), run="run-2")
    after = build_report(state.context, place)
    shell = sum((place / name).stat().st_size for name in _SHELL)
    lines = [
        Figure(
            f"first report of {units:,} units, {first.pictures:,} pictures: pages and pictures",
            f"{first.rate:,.0f} units/s", ">= 100 units/s", first.rate >= 100,
        ),
        Figure("the same, all of it", f"{first.seconds:.1f} s", "<= 60 s", first.seconds <= 60),
        Figure(
            "the same, all of it, in processor time (what others leave of a busy machine)",
            f"{spent:.1f} s, {units / spent:,.0f} units/s", ">= 100 units/s", units / spent >= 100,
        ),
        Figure(
            "again, nothing changed: pages made anew",
            f"{again.rendered}, {again.written} files, {again.seconds:.1f} s", "0",
            not again.rendered and not again.written,
        ),
        Figure(
            f"again, {len(some):,} units changed: pages made anew",
            f"{after.rendered}, {after.seconds:.1f} s", f"{len(some)}",
            after.rendered == len(some),
        ),
        Figure("index shell", f"{shell / 1e6:.2f} MB", "<= 2 MB", shell <= 2e6),
    ]  # fmt: skip
    return lines + _opened(place, units)


def _state(table: Table, folder: Path, units: int) -> made.State:
    layers = [{"path": f"layer{n}"} for n in range(1, _LAYERS + 1)]
    models = [{**table["models"][0], "layers": layers}]
    changed = studies.changed(table, name="atlas", models=models)
    context = build_context(parse_study(changed, folder), folder / "state")
    texts = made.Texts(label=_label, caption=lambda n: f"{_label(n)} number {n % 311}")
    every = [_unit(number, units) for number in range(units)]
    return made.fill(context, folder / "photos", every, 4_096, 3_000, 224, texts)


def _unit(number: int, units: int) -> Unit:
    each = units // _LAYERS
    return Unit("net", f"layer{number // each + 1}", number % each)


def _label(number: int) -> str:
    word, thing = _WORDS[number % 8], _THINGS[number // 8 % 10]
    return f"{word} {thing} on {_WORDS[number // 80 % 8]}"


def _opened(place: Path, units: int) -> list[Figure]:
    """What a browser makes of it, without a network."""
    with browser.chromium() as chrome:
        page = chrome.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        started = time.monotonic()
        page.goto((place / "index.html").as_uri())
        page.wait_for_selector("tbody tr")
        rows = time.monotonic() - started
        paint: list[dict[str, Any]] = json.loads(
            page.evaluate("JSON.stringify(performance.getEntriesByType('paint'))")
        )
        painted = max(entry["startTime"] for entry in paint) / 1000
        page.wait_for_timeout(500)
        pictures = sum(url.endswith(".jpg") for url in asked)
        found = page.evaluate(_SEARCH, list(_QUERIES))
        outside = [url for url in asked if not url.startswith(("file:", "data:"))]
    laid, framed = (sorted(one[place] for one in found) for place in (0, 1))
    return [
        Figure("first paint of the index", f"{painted:.2f} s", "<= 2 s", painted <= 2),
        Figure("rows of the index in place", f"{rows:.2f} s", "<= 2 s", rows <= 2),
        Figure(
            f"search among {units:,} units, slowest of {len(found)}: rows found and laid out",
            f"{laid[-1]:.0f} ms", "<= 100 ms", laid[-1] <= 100,
        ),
        Figure(
            "the same, median, until the next frame is drawn",
            f"{framed[len(framed) // 2]:.0f} ms", "<= 100 ms",
            framed[len(framed) // 2] <= 100,
        ),
        Figure(
            "thumbnails asked for by opening the index", f"{pictures:,}", "<= 400",
            pictures <= 400,
        ),
        Figure("requests to anywhere else", str(len(outside)), "0", not outside),
    ]  # fmt: skip
