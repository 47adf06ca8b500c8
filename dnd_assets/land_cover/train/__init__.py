"""Training of the Tile2Vec network; see `python -m dnd_assets.land_cover.train`."""
