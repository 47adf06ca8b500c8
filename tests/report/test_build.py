"""A report holds what was recorded, and is brought up to date page by page."""

import io
import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from dnd_assets.cli import app
from dnd_assets.errors import NotFoundError
from dnd_assets.report.build import build_report
from dnd_assets.report.entries import entry_of
from dnd_assets.report.names import picture_name
from dnd_assets.report.pictures import pictures_of
from dnd_assets.report.thumbnails import small
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.units import Unit
from dnd_assets.workflow.atlas_address import page_name
from tests.report import made
from tests.report.conftest import UNITS, context_of


def page(folder, unit):
    return (folder / "units" / page_name(unit.key)).read_text()


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def data(folder):
    text = (folder / "data-units.js").read_text()
    return json.loads(text.partition("ATLAS_UNITS = ")[2].rstrip().removesuffix(";"))


def test_every_unit_has_a_page_with_all_that_is_known(atlas):
    folder, state = atlas
    cards = Cards(state.context.lineage, state.context.store, "atlas")
    for card in cards.read():
        text = page(folder, Unit(card.model, card.layer, card.neuron))
        assert f"<bdi>{card.label}</bdi></h1>" in text
        for one in card.exemplars:
            assert f'src="../{picture_name(one.image)}"' in text
        assert text.count("<rect ") == sum(len(one.crops) for one in card.exemplars)
        for one in card.described:
            assert f'<bdi class="said">{one.caption}</bdi>' in text
        for concept in card.concepts:
            assert f"One realistic image of {concept.concept}" in text
            assert all(str(shown.seed) in text for shown in concept.pictures)
        for step in card.made:
            assert step.key in text
            assert step.data_version in text
        assert 'class="bars"' in text
        assert text.count('class="mark"') == len(card.exemplars)


def test_boxes_are_drawn_where_they_were_cut(atlas):
    folder, _ = atlas
    # The second crop of a unit made by hand lies at 8, 8, 32, 40 of a square of 64 pixels.
    assert '<rect x="0.125" y="0.125" width="0.375" height="0.5"/>' in page(folder, UNITS[3])


def test_a_stored_heat_map_is_shown_and_can_be_hidden(atlas):
    folder, _ = atlas
    assert page(folder, UNITS[0]).count('<svg class="heat"') == 1
    assert 'class="show-heat"' in page(folder, UNITS[0])
    assert '<svg class="heat"' not in page(folder, UNITS[1])


def test_every_link_and_picture_is_there(atlas):
    folder, _ = atlas
    for file in folder.rglob("*.html"):
        text = file.read_text()
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            if target.startswith("data:"):
                continue
            path, _, anchor = target.partition("#")
            other = (file.parent / path).resolve() if path else file
            assert other.is_file(), (file.name, target)
            if anchor and "=" not in anchor:
                assert f'id="{anchor}"' in other.read_text(), (file.name, target)


def test_hashes_prompts_seeds_weights_and_run_are_two_clicks_away(atlas):
    folder, state = atlas
    card = Cards(state.context.lineage, state.context.store, "atlas").card(UNITS[0].key)
    text, sources = page(folder, UNITS[0]), (folder / "sources.html").read_text()
    for step in card.made:
        assert f'<details class="step" id="{step.asset}">' in text
        for provider in step.weights.values():
            assert f'href="../sources.html#p-{provider}"' in text
            assert f'id="p-{provider}"' in sources
    assert "One realistic image of {concept}" in sources


def test_the_index_holds_every_unit_and_method(atlas):
    folder, _ = atlas
    found = data(folder)
    assert found["unit"] == [unit.key for unit in UNITS]
    assert list(found["methods"]) == ["labels", "clip_dissect_labels"]
    labels = [found["texts"][n] for n in found["methods"]["labels"]["label"]]
    assert labels == [f"label {n}" for n in range(12)]
    assert found["methods"]["clip_dissect_labels"]["clear"] == [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert all(len(some) == 4 for some in found["thumbs"])


def test_each_picture_names_the_units_that_it_activates_most(atlas):
    folder, state = atlas
    entries = [
        entry_of(card) for card in Cards(state.context.lineage, state.context.store, "atlas").read()
    ]
    shown, more = pictures_of(entries)
    assert more == 0
    for picture in shown:
        mine = [
            (one.exemplars.index(picture.image) + 1, one.unit)
            for one in entries
            if picture.image in one.exemplars
        ]
        assert picture.units == len(mine)
        places = [one.place for one in picture.firings]
        assert places == sorted(place for place, _ in mine)[: len(places)]
    counts = [one.units for one in shown]
    assert counts == sorted(counts, reverse=True)
    text = (folder / "pictures.html").read_text()
    for firing in shown[0].firings:
        assert firing.unit.page in text
    assert pictures_of(entries, most=2) == (shown[:2], len(shown) - 2)


def test_pictures_are_there_once_and_those_that_changed_are_told(tmp_path):
    state = made.fill(context_of(tmp_path, UNITS), tmp_path / "photos", UNITS, 24, 8, 48)
    photo = min((tmp_path / "photos").iterdir())
    row = state.context.lineage.query("SELECT * FROM images WHERE path = ?", [str(photo)])[0]
    kept = photo.read_bytes()
    photo.write_bytes(b"something else")
    built = build_report(state.context, tmp_path / "out")
    shown = list((tmp_path / "out" / "pictures").rglob("*.jpg"))
    assert len(shown) == built.pictures == 23 + 8
    # The file no longer holds what was probed: it is told, not shown.
    assert not (tmp_path / "out" / picture_name(row["hash"])).exists()
    assert any("cannot be shown" in line for line in built.told)
    photo.write_bytes(kept)
    again = build_report(context_of(tmp_path, UNITS), tmp_path / "out")
    assert (tmp_path / "out" / picture_name(row["hash"])).exists()
    assert 0 < again.rendered < len(UNITS)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_thumbnails_are_small_upright_and_bare(mode):
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    exif[0x0112] = 6  # the camera was turned
    Image.new(mode, (1600, 900), 99).save(data, "JPEG", exif=exif)
    made_small, size = small(data.getvalue(), 10**8)
    with Image.open(io.BytesIO(made_small)) as opened:
        assert opened.size == size == (144, 256)
        assert not opened.getexif()
    assert b"where I live" in data.getvalue()
    assert b"where I live" not in made_small


def test_a_second_report_writes_nothing(state, tmp_path):
    first = build_report(state.context, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = build_report(state.context, tmp_path / "out")
    assert (first.rendered, again.rendered, again.written, again.removed) == (12, 0, 0, 0)
    assert contents(tmp_path / "out") == before


def test_a_report_is_the_same_whatever_was_there_before(state, tmp_path):
    build_report(state.context, tmp_path / "grown")
    made.record(state, UNITS[3:4], made.Texts(label=lambda n: f"other {n}"), 3, "run-2")
    build_report(state.context, tmp_path / "grown")
    build_report(state.context, tmp_path / "fresh")
    assert contents(tmp_path / "grown") == contents(tmp_path / "fresh")


def test_only_changed_units_are_made_anew(state, tmp_path):
    build_report(state.context, tmp_path / "out")
    before = contents(tmp_path / "out" / "units")
    made.record(state, UNITS[3:5], made.Texts(label=lambda n: f"other {n}"), 3, "run-2")
    again = build_report(state.context, tmp_path / "out")
    after = contents(tmp_path / "out" / "units")
    assert again.rendered == 2
    changed = {str(name) for name in after if after[name] != before[name]}
    assert changed == {page_name(unit.key) for unit in UNITS[3:5]}
    assert "other 3" in page(tmp_path / "out", UNITS[3])


def test_a_run_that_only_finds_things_up_to_date_changes_nothing(state, tmp_path):
    build_report(state.context, tmp_path / "out")
    made.record(state, UNITS, made.Texts(), 0, "run-2")
    assert build_report(state.context, tmp_path / "out").rendered == 0


def test_pages_of_units_that_are_gone_are_removed(state, tmp_path):
    build_report(state.context, tmp_path / "out")
    built = build_report(state.context, tmp_path / "out", ["net/conv.1"])
    assert built.units == 6
    assert len(list((tmp_path / "out" / "units").iterdir())) == 6
    # The last one's page had a link to a unit that is gone.
    assert built.rendered == 1
    with pytest.raises(NotFoundError, match="nearest"):
        build_report(state.context, tmp_path / "out", ["net/nothing"])


def test_a_lost_page_or_picture_is_made_again(state, tmp_path):
    build_report(state.context, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "units" / page_name(UNITS[5].key)).unlink()
    next((tmp_path / "out" / "pictures").rglob("*.jpg")).write_bytes(b"cut")
    built = build_report(state.context, tmp_path / "out")
    assert built.written == 2
    assert contents(tmp_path / "out") == before


def test_units_without_a_label_have_a_page_that_says_why(tmp_path):
    from tests.lineage import handmade

    unit = handmade.UNIT
    context = context_of(tmp_path, [unit])
    dead = handmade.Outcome("dead", {}, "it is 0 on every image")
    handmade.record(context.lineage, "atlas", unit, changes=dict.fromkeys(handmade.UPSTREAM, dead))
    build_report(context, tmp_path / "out")
    text = page(tmp_path / "out", unit)
    assert "No label" in text
    assert "it is 0 on every image" in text


def test_refused_pictures_are_told_and_never_in_the_folder(tmp_path):
    from tests.lineage import handmade

    context = context_of(tmp_path, [handmade.UNIT])
    content = json.loads(json.dumps(handmade.CONTENT["synthetic_images"]))
    (refused,) = context.pictures.keep([Image.new("RGB", (8, 8), (200, 0, 0))])[1]
    content["concepts"][1]["images"][0]["image"] = refused
    changes = {"synthetic_images": handmade.Outcome("ok", content)}
    handmade.record(context.lineage, "atlas", handmade.UNIT, changes=changes)
    build_report(context, tmp_path / "out")
    text = page(tmp_path / "out", handmade.UNIT)
    assert "Rejected by the safety checker" in text
    assert "7 (rejected)" in text
    assert picture_name(refused) not in text
    assert not (tmp_path / "out" / picture_name(refused)).exists()


def test_against_a_run_tells_labels_and_causes(state, tmp_path):
    made.record(state, UNITS[2:3], made.Texts(label=lambda n: f"other {n}"), 2, "run-2")
    build_report(state.context, tmp_path / "out", against="run-1")
    text = (tmp_path / "out" / "changes.html").read_text()
    assert "<bdi>label 2</bdi></td><td><bdi>other 2</bdi>" in text
    assert text.count('<tr><th scope="row">') == 2  # of both methods
    assert f"units/{page_name(UNITS[2].key)}" in text


def test_against_another_report_tells_labels_and_units(state, tmp_path):
    build_report(state.context, tmp_path / "before", ["net/conv.1"])
    made.record(state, UNITS[2:3], made.Texts(label=lambda n: f"other {n}"), 2, "run-2")
    build_report(state.context, tmp_path / "out", against=str(tmp_path / "before"))
    text = (tmp_path / "out" / "changes.html").read_text()
    assert "2 labels differ, of 6 units" in text
    assert "<bdi>label 2</bdi></td><td><bdi>other 2</bdi>" in text
    assert "Units that are new" in text
    with pytest.raises(NotFoundError, match="holds no report"):
        build_report(state.context, tmp_path / "out", against=str(tmp_path / "state"))
    with pytest.raises(NotFoundError, match="run-1"):
        build_report(state.context, tmp_path / "out", against="run-9")


def test_a_report_goes_without_connections_when_the_network_is_gone(atlas):
    folder, _ = atlas
    text = (folder / "overview.html").read_text()
    assert "weights of &#39;net&#39; at hand are not" in text or "are not at hand" in text


def test_no_results_are_told(tmp_path):
    with pytest.raises(NotFoundError, match="no results yet"):
        build_report(context_of(tmp_path, UNITS), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_a_report_and_says_where(state, tmp_path):
    study = tmp_path / "atlas.toml"
    layers = "\n".join(f'[[models.layers]]\npath = "{path}"' for path in ("conv.1", "conv/2"))
    study.write_text(
        'name = "atlas"\n[[models]]\nname = "net"\nsource = "module:gone.networks:net"\n'
        f'{layers}\n[probing_set]\nfolders = ["."]\n'
    )
    asked = ["report", "-s", str(study), "-o", str(tmp_path / "out"), "net/conv.1/0-2"]
    done = CliRunner().invoke(app, asked, env={"DND_HOME": str(tmp_path / "state")})
    assert done.exit_code == 0, done.output
    assert "3 units, 3 pages made anew" in done.output
    assert done.output.strip().endswith(str(tmp_path / "out" / "index.html"))
    assert "unit pages 3/3" in done.output
