"""A small study made by hand, and its report."""

import shutil

import pytest

from dnd_assets.engine.context_builder import build_context
from dnd_assets.report.build import build_report
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests.report import browser, made

UNITS = [Unit("net", layer, neuron) for layer in ("conv.1", "conv/2") for neuron in range(6)]


def context_of(folder, units, name="atlas"):
    """The context of a study whose network nobody has at hand."""
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
    return build_context(parse_study(table, folder), folder / "state")


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The study, filled once."""
    folder = tmp_path_factory.mktemp("template")
    return folder, made.fill(context_of(folder, UNITS), folder / "photos", UNITS, 24, 8, 48)


@pytest.fixture
def state(template, tmp_path):
    """A copy of the study's state for one test; the photographs are shared."""
    folder, filled = template
    shutil.copytree(folder / "state", tmp_path / "state")
    return made.State(context_of(tmp_path, UNITS), filled.images, filled.painted)


@pytest.fixture(scope="session")
def atlas(template, tmp_path_factory):
    """A report that tests only look at: its folder, and the state."""
    folder = tmp_path_factory.mktemp("atlas")
    shutil.copytree(template[0] / "state", folder / "state")
    context = context_of(folder, UNITS)
    first = Cards(context.lineage, context.store, "atlas").card(UNITS[0].key)
    made.heat_map(context, UNITS[0], first.exemplars[0].image)
    build_report(context, folder / "out")
    return folder / "out", made.State(context, template[1].images, template[1].painted)


@pytest.fixture(scope="module")
def chrome():
    """A headless browser."""
    pytest.importorskip("playwright", reason="needs playwright (dependency group dev)")
    if browser.found() is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with browser.chromium() as opened:
        yield opened
