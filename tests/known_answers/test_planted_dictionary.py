"""A dictionary planted in the world's network: latents whose truths are known by construction."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dnd_assets.analysis.latent_frequencies import latents, write_table
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.known_answers import planted_dictionary
from dnd_assets.known_answers.render import render
from dnd_assets.known_answers.target import load_world_net, planted_names
from dnd_assets.known_answers.world import scene
from dnd_assets.methods.metrics.strict_match import strict
from dnd_assets.study.network_settings import FromTable
from dnd_assets.study.study import load_study

pytestmark = pytest.mark.timeout(900)  # half a minute alone, minutes beside other work

LAYER = "mixed"
"""Both the network's name and its layer's."""


@pytest.fixture(scope="module")
def study():
    found = load_study("known-answers-sae")
    world = found.probing_set.world.model_copy(update={"count": 1024})
    return found.model_copy(
        update={"probing_set": found.probing_set.model_copy(update={"world": world})}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def labelled(study, home):
    """Outcomes by asset and latent, of the detectors' latents and of one that is dead."""
    context = build_context(study, home)
    truths = planted_dictionary.latent_truths()
    live = [n for n, truth in truths.items() if truth.kind != "dead"]
    dead = next(n for n in truths if n not in live)
    units = find_units(context).select([f"mixed/mixed/{n}" for n in [*live, dead]])
    stages = stages_of(study)
    for whole in study_assets_of(stages).values():
        whole.materialize(context, "run")
    graph = Graph(context, stages)
    found = {}
    for stage in stages.values():
        for one in materialize(graph, stage, units, "run"):
            found[stage.name, one.unit.neuron] = one.product.outcome
        if stage.name == "detection_scores":  # which says what the label is
            break
    return found


def test_the_shipped_dictionary_is_the_one_that_is_written(tmp_path):
    planted_dictionary.write_dictionary(tmp_path)
    shipped = planted_dictionary.DICTIONARY
    assert json.loads((tmp_path / "cfg.json").read_text()) == json.loads(
        (shipped / "cfg.json").read_text()
    )
    new, old = (load_file(p / "sae_weights.safetensors") for p in (tmp_path, shipped))
    assert new.keys() == old.keys()
    for name, value in new.items():
        torch.testing.assert_close(value, old[name], rtol=1e-5, atol=1e-6)


def test_no_channel_is_a_detector_and_each_latent_is_one(study, home):
    context = build_context(study, home)
    pictures = [Image.fromarray(render(scene(seed), seed)) for seed in range(900, 908)]
    pixels = torch.stack([planted_dictionary.transforms()(one) for one in pictures])
    world = load_world_net()
    with torch.inference_mode():
        features = world.trunk(pixels)
        maps = world.planted(pixels, features)
        mixed = planted_dictionary.mixed_world_net()
        channels = mixed.mixed(maps)
        torch.testing.assert_close(mixed(pixels), world(pixels), rtol=1e-3, atol=1e-3)
    largest = maps.amax(dim=(2, 3)).numpy()

    found = context.targets.activations(LAYER, {LAYER: "auto"}, pictures)[LAYER]
    places = planted_dictionary._places()
    for detector, latent in enumerate(places):
        np.testing.assert_allclose(found[:, latent], largest[:, detector], rtol=1e-3, atol=2e-4)
    assert not found[:, sorted(set(range(planted_dictionary.LATENTS)) - set(places))].any()
    shown = maps.transpose(0, 1).flatten(1).numpy()
    shown = shown[shown.std(axis=1) > 0]  # what these scenes hold
    assert len(shown) > 5
    seen = channels.transpose(0, 1).flatten(1).numpy()
    alike = np.abs(np.corrcoef(seen, shown)[: len(seen), len(seen) :])
    assert not (alike > 0.99).any()


def test_labels_of_a_planted_dictionary_are_exact(labelled):
    truths = planted_dictionary.latent_truths()
    judged = {
        latent: strict(outcome.payload.get("label"), truths[latent])
        for (asset, latent), outcome in labelled.items()
        if asset == "detection_scores"
    }
    known = {latent: one for latent, one in judged.items() if one is not None}
    assert len(known) == len(planted_names()) - 1, "all but the random one, and one more dead"
    exact = sum(one.exact for one in known.values())
    assert exact >= 0.95 * len(known), {n: labelled["detection_scores", n] for n in known}


def test_a_dead_latent_gets_no_label(labelled):
    truths = planted_dictionary.latent_truths()
    dead = [n for (_, n) in labelled if truths[n].kind == "dead"]
    assert dead
    assert all(labelled["activations", n].status == "dead" for n in dead)


def test_latents_are_counted_and_chosen_by_how_often_they_fire(study, home, labelled, tmp_path):
    context = build_context(study, home)
    (found,) = latents(context)
    truths = planted_dictionary.latent_truths()
    live = [n for n, truth in truths.items() if truth.kind != "dead"]

    assert found.firing.images == 1024
    for latent in range(planted_dictionary.LATENTS):
        seen = found.firing.pictures[latent]
        if ("activations", latent) in labelled and latent in live:
            fires = labelled["activations", latent].notes["summary"]["fires"]
            assert seen == round(fires * 1024)
        assert latent in live or not seen
    write_table([found], tmp_path / "latents.csv")
    chosen = FromTable(file="latents.csv", least=20)
    often = [n for n in live if found.firing.pictures[n] >= 20]
    layer = study.models[0].layers[0].model_copy(update={"neurons": chosen})
    assert layer.indices(40, tmp_path) == sorted(often)
    few = layer.model_copy(update={"neurons": chosen.model_copy(update={"sample": 3, "seed": 1})})
    assert set(few.indices(40, tmp_path)) < set(often)
    changed = replace_neurons(study, chosen, tmp_path)
    units = find_units(replace(context, study=changed))
    assert [unit.neuron for unit in units.values()] == sorted(often)


def replace_neurons(study, chosen, folder):
    layer = study.models[0].layers[0].model_copy(update={"neurons": chosen})
    model = study.models[0].model_copy(update={"layers": [layer]})
    return study.model_copy(update={"models": [model], "folder": folder})
