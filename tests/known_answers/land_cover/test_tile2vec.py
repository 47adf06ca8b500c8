"""The Tile2Vec network and its training."""

import json

import numpy as np
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dnd_assets.known_answers.land_cover.tile2vec import (
    CHECKPOINT,
    Tile2Vec,
    tile2vec,
    triplet_loss,
)
from dnd_assets.known_answers.land_cover.train.tile2vec import (
    TrainingSettings,
    ordered_share,
    train_tile2vec,
)
from dnd_assets.known_answers.land_cover.triplets import draw_triplets
from tests.land_cover_scenes import write_scenes


def test_five_stages_at_the_sizes_of_the_published_network():
    net, sizes = Tile2Vec().eval(), []
    for number in range(1, 6):
        net.get_submodule(f"layer{number}").register_forward_hook(
            lambda _module, _inputs, out: sizes.append(tuple(out.shape[1:]))
        )
    with torch.inference_mode():
        assert net(torch.zeros(1, 4, 50, 50)).shape == (1, 512)
    assert sizes == [(64, 50, 50), (128, 25, 25), (256, 13, 13), (512, 7, 7), (512, 4, 4)]


def test_the_loss_by_hand():
    anchor, near, far = (torch.tensor([one]) for one in ([0.0, 0.0], [3.0, 4.0], [0.0, 12.0]))
    assert float(triplet_loss(anchor, near, far, 10.0)) == 3.0
    assert float(triplet_loss(anchor, near, far, 7.0)) == 0.0


def test_training_puts_neighbours_nearer_than_distant_tiles(tmp_path, one_thread):
    folder = write_scenes(tmp_path / "scenes", side=104)
    settings = TrainingSettings(width=2, steps=12, batch=8, reach=10, margin=1.0)
    first, again = (train_tile2vec(folder, settings) for _ in range(2))
    assert first.figures["loss_last"] < first.figures["loss_first"]
    states = [one.net.state_dict() for one in (first, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_command_writes_weights_that_the_network_takes(tmp_path, one_thread):
    import typer

    from dnd_assets.known_answers.land_cover.train.__main__ import main

    app = typer.Typer()
    app.command()(main)
    folder, out = write_scenes(tmp_path / "scenes", side=104), tmp_path / "out"
    asked = [str(folder), "--out", str(out), "--width", "2", "--steps", "1", "--batch", "2"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    Tile2Vec(2).load_state_dict(load_file(out / "weights.safetensors"))
    assert json.loads((out / "training.json").read_text())["settings"]["width"] == 2
    missing = CliRunner().invoke(app, [str(tmp_path / "nowhere")])
    assert missing.exit_code != 0


def test_the_shipped_weights_order_triplets_of_real_scenes(shared_dir, one_thread):
    """Better than the network did before training, as its record says."""
    from dnd_assets.known_answers.land_cover.land_scenes import read_scenes

    net = tile2vec()
    net.load_state_dict(load_file(CHECKPOINT / "weights.safetensors"))
    scenes = [one.bands for one in read_scenes(shared_dir / "landcover")]
    triplets = draw_triplets(scenes, 64, 50, 50, 99)
    told = json.loads((CHECKPOINT / "training.json").read_text())["figures"]
    assert told["ordered_after"] > told["ordered_before"]
    assert ordered_share(net, triplets) > 0.8
    assert np.isfinite(ordered_share(net, triplets))
    assert (CHECKPOINT / "weights.safetensors").stat().st_size < 3_000_000
