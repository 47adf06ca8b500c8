"""What directions are called: read from their file, shown on cards and in the atlas."""

import json

import numpy as np
from safetensors.numpy import save_file

from dnd_assets.engine.context_builder import build_context
from dnd_assets.report.build import build_report
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.results.unit_card.html import card_html
from dnd_assets.study.direction_names import direction_names
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests.report import made
from tests.report.conftest import context_of

NAMES = ["striped", "dotted <b>", "furry"]
UNITS = [Unit("net", "Conv 1", n) for n in range(3)]


def study(folder, names=NAMES):
    metadata = {} if names is None else {"names": json.dumps(names)}
    save_file({"d": np.eye(3, 8, dtype=np.float32)}, folder / "probes.safetensors", metadata)
    layer = {"path": "Conv 1", "directions": {"path": "probes.safetensors"}}
    models = [{"name": "net", "source": "module:gone.networks:net", "layers": [layer]}]
    table = {"name": "atlas", "models": models, "probing_set": {"folders": ["photos"]}}
    return parse_study(table, folder)


def test_names_are_those_of_the_file(tmp_path):
    assert direction_names(study(tmp_path)) == {
        unit.key: name for unit, name in zip(UNITS, NAMES, strict=True)
    }
    assert direction_names(study(tmp_path, None)) == {}
    gone = study(tmp_path)
    (tmp_path / "probes.safetensors").write_bytes(b"no such file")
    assert direction_names(gone) == {}
    (tmp_path / "probes.safetensors").unlink()
    assert direction_names(gone) == {}


def test_cards_and_the_atlas_show_them(tmp_path):
    made.fill(context_of(tmp_path, UNITS), tmp_path / "photos", UNITS, 24, 8, 48)
    context = build_context(study(tmp_path), tmp_path / "state")
    cards = Cards(context.lineage, context.store, "atlas", direction_names(context.study))
    card = cards.card(UNITS[1].key)
    assert card.name == NAMES[1]
    assert "direction: dotted &lt;b&gt;" in card_html(card, context.pictures)

    build_report(context, tmp_path / "out")
    pages = [page.read_text() for page in (tmp_path / "out" / "units").glob("*.html")]
    assert sum("direction: <bdi>dotted &lt;b&gt;</bdi>" in page for page in pages) == 1
    assert sum("direction: <bdi>" in page for page in pages) == 3
    assert "striped" in (tmp_path / "out" / "data-units.js").read_text()
    # A name that changes makes its page anew.
    again = build_context(study(tmp_path, ["striped", "dotted <b>", "woolly"]), tmp_path / "state")
    assert build_report(again, tmp_path / "out").rendered == 1
