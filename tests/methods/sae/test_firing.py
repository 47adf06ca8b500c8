"""How often latents fire, counted by hand."""

import numpy as np

from dnd_assets.methods.dissection import exemplars
from dnd_assets.methods.sae.firing import firing
from dnd_assets.methods.sparse_matrix import SparseMatrix


def test_pictures_on_which_a_latent_fires():
    codes = np.zeros((6, 4), np.float32)
    codes[:, 0] = [1, 0, 2, 0, 0, 3]
    codes[:, 1] = [8, 1e-6, 0, 0, 0, 0]  # the second is nothing beside the first
    codes[2, 3] = np.nan
    found = firing(SparseMatrix.of_dense(codes))

    assert found.pictures.tolist() == [3, 1, 0, 0]
    assert found.largest.tolist() == [3, 8, 0, 0]
    assert found.mean.tolist() == [2, 8, 0, 0]
    assert found.dead == 2
    assert found.per_picture == 4 / 6


def test_it_is_the_count_of_exemplars():
    r = np.random.default_rng(5)
    codes = np.maximum(r.normal(-1.5, 1, (400, 12)), 0).astype(np.float32)
    found = firing(SparseMatrix.of_dense(codes))
    ids = [f"{n:04d}" for n in range(400)]
    for latent in range(12):
        assert found.pictures[latent] == exemplars.exemplars_of(codes[:, latent], ids, 5).fires_on
