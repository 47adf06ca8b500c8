"""Scenes of land cover from the air, tiles of them, and a Tile2Vec network trained on such."""
