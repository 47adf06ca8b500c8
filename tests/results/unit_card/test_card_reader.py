"""Cards of units: all that was recorded, from the versions a label was really made from."""

import numpy as np
import pytest

from dnd_assets.engine.cache.heat_maps import MAPS, map_item
from dnd_assets.engine.cache.shared_results import shared_row
from dnd_assets.errors import NotFoundError
from dnd_assets.files.images import encode_png
from dnd_assets.lineage.records import Outcome, artefact_row
from dnd_assets.lineage.trace import trace
from dnd_assets.results.unit_card.card_reader import Cards
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage
from tests import studies
from tests.lineage import handmade


@pytest.fixture
def state(tmp_path):
    return Lineage(root=str(tmp_path)), ArtefactStore(root=str(tmp_path / "store"))


@pytest.fixture(scope="module")
def cards(labelled, colours):
    folder, announced = labelled
    context = studies.build_context(studies.parse_study(colours, folder), folder / "state")
    return Cards(context.lineage, context.store, "colours"), announced


def test_a_card_says_what_was_recorded_by_hand(state):
    handmade.record(state[0], "study", handmade.UNIT, crop_size=8)
    card = Cards(*state, "study").card("net/fc/3")
    assert (card.model, card.layer, card.neuron, card.label) == ("net", "fc", 3, "red dot")
    assert [(one.label, one.score) for one in card.main.labels] == [
        ("red dot", 0.75), ("blue, sky", 0.25),
    ]  # fmt: skip
    assert [(one.image, one.activation, one.caption) for one in card.exemplars] == [
        (handmade.B, 2.5, "a dot"), (handmade.A, 1.25, None),
    ]  # fmt: skip
    (crop,) = card.exemplars[1].crops
    assert (crop.box.left, crop.box.top, crop.box.right, crop.box.bottom) == (
        1 / 8, 2 / 8, 3 / 8, 4 / 8,
    )  # fmt: skip
    assert [(one.kind, one.caption) for one in card.described] == [
        ("crop", 'a "red" dot'), ("image", "a dot"),
    ]  # fmt: skip
    assert card.described[0].crop == crop
    assert card.described[1].crop is None


def test_candidates_come_with_scores_prompts_and_rejected_pictures(state):
    handmade.record(state[0], "study", handmade.UNIT)
    red, blue = Cards(*state, "study").card("net/fc/3").concepts
    assert (red.concept, red.score, red.scores["mean_rank"]) == ("red dot", 0.75, -1.5)
    assert red.prompt == "One realistic image of red dot"
    assert [(p.image, p.seed, p.rejected, p.activation) for p in red.pictures] == [
        (handmade.RED, 2**63 + 5, False, 0.75)
    ]
    # The activation belongs to the accepted picture, not to the one that was rejected before it.
    assert [(p.rejected, p.activation) for p in blue.pictures] == [(True, None), (False, 0.25)]


def test_lineage_tells_keys_runs_and_weights_upstream_first(state):
    handmade.record(state[0], "study", handmade.UNIT)
    found = Cards(*state, "study")
    card = found.card("net/fc/3")
    assert [one.asset for one in card.made] == list(handmade.UPSTREAM)
    step = next(one for one in card.made if one.asset == "synthetic_images")
    assert (step.run, step.code, len(step.key)) == ("run-1", "code of synthetic_images", 64)
    weights = found.providers(step.weights.values())[step.weights["text_to_image"]]
    assert weights == handmade.WEIGHTS["synthetic_images"]["text_to_image"]
    assert found.paths([handmade.B]) == {handmade.B: ["/images/also-b.jpg", "/images/b.jpg"]}


def test_a_card_shows_what_the_label_was_made_from_not_what_followed(state):
    versions = handmade.record(state[0], "study", handmade.UNIT)
    other = Outcome("ok", {"captions": [{"image": handmade.B, "caption": "made later"}]})
    inputs = {"crops": versions["crops"]}
    handmade.announce(
        state[0], "study", handmade.UNIT, "captions", other, inputs, "run-2", made="later"
    )
    card = Cards(*state, "study").card("net/fc/3")
    assert card.exemplars[0].caption == "a dot"
    assert {one.run for one in card.made} == {"run-1"}


def test_a_failure_has_its_status_and_no_label(state):
    dead = Outcome("dead", {}, "it is 0 everywhere")
    handmade.record(
        state[0], "study", handmade.UNIT, changes=dict.fromkeys(handmade.UPSTREAM, dead)
    )
    card = Cards(*state, "study").card("net/fc/3")
    assert (card.label, card.main.status, card.main.reason) == (None, "dead", "it is 0 everywhere")
    assert card.exemplars == card.concepts == card.ranges == ()


def test_a_wrong_name_is_answered_with_the_nearest(state):
    with pytest.raises(NotFoundError, match="no results yet"):
        list(Cards(*state, "study").read())
    handmade.record(state[0], "study", handmade.UNIT)
    with pytest.raises(NotFoundError, match="net/fc/3"):
        Cards(*state, "study").card("net/fc/4")


def test_a_real_study_has_the_activations_of_all_probing_images(cards):
    found, _ = cards
    for card in found.read():
        spread = card.distribution
        if card.main.status == "ok":
            assert sum(spread.counts) == spread.images == 18
            assert spread.high == pytest.approx(card.exemplars[0].activation)
            # The top 0.1 % of 18 images is the one that activates the unit most.
            assert card.ranges[0].images[0].image == card.exemplars[0].image
            assert [one.size for one in card.ranges] == [1, 1, 1]


def test_cards_agree_with_traces(cards):
    found, _ = cards
    for card in found.read():
        with found.lineage.connect():
            told = trace(found.lineage.query, "colours", card.unit)
        made = {one.asset: one.key for one in card.made}
        assert made == {
            name: step.record["key"] for name, step in told.steps.items() if name in made
        }
        assert set(told.steps) - set(made) == {"probing_set"}


def test_one_card_is_the_same_as_among_many(cards):
    found, _ = cards
    every = {card.unit: card for card in found.read()}
    assert list(every) == list(found.records)
    for unit, card in every.items():
        assert Cards(found.lineage, found.store, "colours").card(unit) == card


def test_stored_heat_maps_are_found(state):
    from PIL import Image

    lineage, store = state
    handmade.record(lineage, "study", handmade.UNIT, crop_size=8)
    png = encode_png(Image.fromarray(np.zeros((2, 2), np.uint8)))
    pack, (name,) = store.put_pack([png])
    card = Cards(lineage, store, "study").card("net/fc/3")
    provider = next(one for one in card.made if one.asset == "activations").weights["target"]
    of_another_size, item = map_item(handmade.B, 3, 64), map_item(handmade.A, 3, 8)
    value = {"file": pack, "map": name}
    rows = [shared_row(MAPS, provider, one, value) for one in (item, of_another_size)]
    lineage.commit({"shared": rows, "artefacts": [artefact_row(name, pack, "png", len(png))]})
    card = Cards(lineage, store, "study").card("net/fc/3")
    assert [one.heat for one in card.exemplars] == [None, png]
    store.path(pack).unlink()
    fresh = Cards(lineage, ArtefactStore(root=store.root), "study")
    assert [one.heat for one in fresh.card("net/fc/3").exemplars] == [None, None]
