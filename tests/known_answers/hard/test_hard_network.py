"""The network of the harder world: its units are what they are said to be."""

from collections import Counter

import numpy as np
import pytest
import torch

from dnd_assets.known_answers.hard.hard_network import PlantedLayer
from dnd_assets.known_answers.hard.hard_scenes import draw, hard_scene, shows
from dnd_assets.known_answers.hard.planted import (
    FACTS,
    KINDS,
    LAYERS,
    SEEDS,
    PlantedUnit,
    hard_truths,
    planted_units,
)
from dnd_assets.known_answers.target import CHECKPOINT
from dnd_assets.known_answers.train.hard import load_hard_net
from dnd_assets.known_answers.train.target import normalised
from dnd_assets.known_answers.world import HELD_OUT_SEEDS
from dnd_assets.methods.metrics.strict_match import strict


def test_each_layer_has_every_kind_once_for_each_seed():
    assert len(hard_truths()) == 3 * 25 * len(SEEDS)
    for layer in LAYERS:
        units = planted_units(layer)
        assert Counter(one.kind for one in units) == {k: n * 5 for k, n in Counter(KINDS).items()}
        assert [one.seed for one in units] == sorted(one.seed for one in units)
    assert planted_units("early") == planted_units("early") != planted_units("late")


@pytest.mark.parametrize(
    ("kind", "facts", "right", "wrong"),
    [
        ("conjunction", ("red", "circle"), "red circles", "circles"),
        ("disjunction", ("red", "circle"), "circles or red", "red circles"),
        ("negation", ("grass",), "not grass", "grass"),
        ("position", ("left",), "on the left", "right"),
        ("dead", (), None, "red"),
    ],
)
def test_a_right_label_names_the_truth_and_nothing_else(kind, facts, right, wrong):
    truth = PlantedUnit(kind, facts, 0.0, 11).truth
    assert strict(right, truth).exact
    assert not strict(wrong, truth).exact


def test_units_combine_facts_as_worked_out_by_hand():
    def unit(kind, *facts, noise=0.0):
        return PlantedUnit(kind, facts, noise, 11)

    units = (
        unit("conjunction", "red", "circle"), unit("disjunction", "red", "circle"),
        unit("negation", "red"), unit("superstimulus", "circle"),
        unit("polysemantic", "circle", "red"), unit("dead", noise=0.3), unit("random"),
        unit("attribute", "red", noise=0.1),
    )  # fmt: skip
    facts = torch.zeros(1, len(FACTS))
    facts[0, FACTS.index("red")] = 0.5
    facts[0, FACTS.index("circle")] = 0.8
    facts[0, FACTS.index("large")] = 1.0
    found = PlantedLayer(units)(facts, torch.ones(1, len(units)))[0]
    extra = 1 + 1.5 * 2 / 3  # large and half red
    expected = [0.4, 0.8, 0.5, 0.8 * extra, 0.8, 0.0, 1.0, 0.6]
    assert found.tolist() == pytest.approx(expected)


def test_the_shipped_network_tells_what_its_units_are_planted_with():
    """On held-out pictures units of one fact, without noise, tell it from all else."""
    net = load_hard_net(CHECKPOINT.parent / "hard")
    seeds = HELD_OUT_SEEDS[700_000:700_096]
    pictures = [hard_scene(seed) for seed in seeds]
    drawn = np.stack([draw(one, seed) for one, seed in zip(pictures, seeds, strict=True)])
    with torch.inference_mode():
        found = net(normalised(torch.from_numpy(drawn).permute(0, 3, 1, 2))).numpy()
    checked = 0
    for column, unit in zip(found.T, planted_units("head"), strict=True):
        if len(unit.facts) == 1 and unit.noise == 0 and unit.kind != "superstimulus":
            there = np.array([shows(one, unit.facts[0]) for one in pictures])
            there = ~there if unit.kind == "negation" else there
            assert ((column > 0.5) == there).mean() > 0.9, unit
            checked += 1
        if unit.kind == "dead":
            assert not column.any()
    assert checked > 10
