"""What the trainings share: views of scenes, true pairs, tokenizers, and seeds."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from dnd_assets.known_answers.render import object_boxes, render_with_mask
from dnd_assets.known_answers.train.clip import ClipSettings, matches, train_clip
from dnd_assets.known_answers.train.common import (
    Average,
    Snapshots,
    batches,
    draw,
    learning_rate,
    seed_step,
)
from dnd_assets.known_answers.train.phrases import PREFIX, random_phrase, vocabulary
from dnd_assets.known_answers.train.recogniser import recognised
from dnd_assets.known_answers.train.tokens import bert_tokenizer, clip_tokenizer
from dnd_assets.known_answers.train.views import (
    SceneView,
    cut,
    cut_masks,
    one_hot,
    random_view,
    seen,
    whole,
)
from dnd_assets.known_answers.world import ATTRIBUTES, Scene, caption, is_true, parse, scene

SCENE = Scene(2, "large", "blue", "star", "dots", "sand")


def parts(seed: int = 4):
    _, mask = render_with_mask(SCENE, seed)
    return mask, object_boxes(SCENE, seed)


def test_a_box_around_one_object_of_two():
    mask, boxes = parts()
    left, top, right, bottom = (int(value) for value in np.clip(np.round(boxes[0]), 0, 64))
    view = seen(SCENE, mask, boxes, (left, top, right, bottom))
    assert view.caption == "a blue star with dots on sand"


def test_a_box_inside_an_object_and_one_beside():
    mask, boxes = parts()
    x, y = (int(value) for value in (boxes[0][:2] + boxes[0][2:]) / 2)
    inside = seen(SCENE, mask, boxes, (x - 4, y - 4, x + 4, y + 4))
    assert inside.caption == "blue with dots"
    free = next(
        (x, y, x + 12, y + 12)
        for y in range(52)
        for x in range(52)
        if not mask[y : y + 12, x : x + 12].any()
    )
    assert seen(SCENE, mask, boxes, free).caption == "sand"


def test_random_views_are_true_and_cut_to_size():
    rng = np.random.default_rng(1)
    data = draw(range(60))
    views = [
        random_view(one, mask, object_boxes(one, seed), rng, whole_share=0.3)
        for seed, (one, mask) in enumerate(zip(data.scenes, data.masks.numpy(), strict=True))
    ]
    assert {view.box == (0, 0, 64, 64) for view in views} == {True, False}
    for one, view in zip(data.scenes, views, strict=True):
        facts = parse(view.caption)
        facts.pop("count", None)  # of the objects inside the box
        assert is_true(one, facts)
        assert view.scene.count <= one.count
    pixels = cut(data.images, views)
    assert pixels.shape == (60, 3, 64, 64)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    grid = cut_masks(data.masks, [whole(one) for one in data.scenes], 8)
    assert grid.mean() == pytest.approx(data.masks.float().mean().item(), abs=1e-6)


def test_one_hot_by_hand():
    view = SceneView((0, 0, 20, 20), SCENE, frozenset({"colour"}))
    truth, shown = one_hot([view], ("count", "colour"))
    assert truth.tolist() == [[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]]
    assert shown.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]]


def test_true_pairs_agree_with_the_definition():
    rng = np.random.default_rng(3)
    scenes = [scene(seed) for seed in range(50)]
    texts = [random_phrase(one, rng) for one in scenes]
    pairs = matches([whole(one) for one in scenes], texts)
    expected = [[is_true(one, parse(text)) for text in texts] for one in scenes]
    assert pairs.tolist() == expected
    assert pairs.diagonal().all()
    assert 0.02 < pairs.float().mean() < 0.6


def test_a_picture_is_recognised_only_with_all_named_attributes():
    seen = {name: getattr(SCENE, name) for name in ATTRIBUTES}
    assert recognised(seen, parse("two blue stars"))
    assert not recognised(seen, parse("three blue stars"))
    assert recognised(seen, {})


def test_tokenizers_return_the_words(tmp_path):
    text = f"{PREFIX} {caption(scene(3))}"
    for folder, make in (("clip", clip_tokenizer), ("bert", bert_tokenizer)):
        tokenizer = make(tmp_path / folder, 24)
        again = AutoTokenizer.from_pretrained(tmp_path / folder)
        assert again(text).input_ids == tokenizer(text).input_ids
        assert again.decode(again(text).input_ids, skip_special_tokens=True).strip() == text
        assert all(len(again.tokenize(word)) == 1 for word in vocabulary())
    first = (tmp_path / "clip/tokenizer.json").read_bytes()
    clip_tokenizer(tmp_path / "again", 24)
    assert (tmp_path / "again/tokenizer.json").read_bytes() == first


def test_longest_texts_fit(tmp_path):
    longest = (
        "One realistic image of three small orange triangles with horizontal stripes in the sky"
    )
    assert len(clip_tokenizer(tmp_path / "clip", 24)(longest).input_ids) <= 24
    words = "three small orange triangles with horizontal stripes in the sky"
    assert len(bert_tokenizer(tmp_path / "bert", 20)(words).input_ids) <= 20


def test_equal_seeds_train_equal_weights(tmp_path):
    torch.set_num_threads(1)
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_clip(tmp_path / name, ClipSettings(images=24, steps=2, batch=12, seed=seed))
        path = tmp_path / name / "open_clip_model.safetensors"
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert hashes[0] == hashes[1] != hashes[2]


def test_batches_walk_through_whole_epochs():
    order = torch.cat(list(batches(10, 5, 4, seed=0)))
    assert sorted(order[:10].tolist()) == list(range(10))
    assert sorted(order[10:].tolist()) == list(range(10))


def test_learning_rate_by_hand():
    assert learning_rate(0, 100, 1.0) == pytest.approx(0.2)
    assert learning_rate(4, 100, 1.0) == pytest.approx(1.0)
    assert learning_rate(100, 100, 1.0) == pytest.approx(0.02)


def test_average_of_one_step_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = Average(layer, decay=0.9)
    torch.nn.init.constant_(layer.weight, 11.0)
    average.update(layer)  # decay of the first step: 2 / 11
    assert average.state["weight"].item() == pytest.approx(9.0)


def trained(path, upto: int) -> tuple[dict, dict, int]:
    """A training that goes on from its snapshot: weights, their average, steps done before."""
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    average = Average(module, 0.9)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1)
    snapshots = Snapshots(path, module, average, optimiser)
    done = snapshots.resume()
    for step in range(done, upto):
        rng = seed_step(7, step)
        inputs = torch.randn(4, 3) + float(rng.random())
        optimiser.zero_grad()
        module(inputs).square().mean().backward()
        optimiser.step()
        average.update(module)
        assert snapshots(step + 1, minutes=0)
    return module.state_dict(), average.state, done


def test_a_training_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    weights, average, done = trained(tmp_path / "whole.snapshot", 6)
    assert done == 0
    trained(tmp_path / "parts.snapshot", 3)
    again, average_again, done = trained(tmp_path / "parts.snapshot", 6)
    assert done == 3
    for name in weights:
        assert torch.equal(weights[name], again[name])
        assert torch.equal(average[name], average_again[name])
