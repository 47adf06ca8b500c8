"""Training of the Tile2Vec network; see `python -m dnd_assets.known_answers.land_cover.train`."""
