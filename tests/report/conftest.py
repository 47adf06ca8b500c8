"""A small study made by hand, and its report."""

import pytest

from dnd_assets.bench import build_bench
from dnd_assets.report.build import build_report
from dnd_assets.study import parse_study
from dnd_assets.units import Unit
from tests.report import browser, made

UNITS = [Unit("net", layer, neuron) for layer in ("conv.1", "conv/2") for neuron in range(6)]


def workbench(folder, units, name="atlas"):
    """The workbench of a study whose network nobody has at hand."""
    layers = list(dict.fromkeys(unit.layer for unit in units))
    table = {
        "name": name,
        "models": [
            {
                "name": "net", "source": "module:gone.networks:net",
                "layers": [{"path": path} for path in layers],
            }
        ],
        "probing_set": {"folders": [str(folder)]},
    }  # fmt: skip
    return build_bench(parse_study(table, folder), folder / "state")


@pytest.fixture
def state(tmp_path):
    bench = workbench(tmp_path, UNITS)
    return made.fill(bench, tmp_path / "photos", UNITS, 24, 8, 48)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A report that tests only look at: its folder, and the workbench."""
    folder = tmp_path_factory.mktemp("atlas")
    bench = workbench(folder, UNITS)
    state = made.fill(bench, folder / "photos", UNITS, 24, 8, 48)
    from dnd_assets.unit_card import Cards

    first = Cards(bench.lineage, bench.store, "atlas").card(UNITS[0].key)
    made.heat_map(bench, UNITS[0], first.exemplars[0].image)
    build_report(bench, folder / "out")
    return folder / "out", state


@pytest.fixture(scope="module")
def chrome():
    """A headless browser."""
    pytest.importorskip("playwright", reason="needs playwright (dependency group dev)")
    if browser.found() is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with browser.chromium() as opened:
        yield opened
