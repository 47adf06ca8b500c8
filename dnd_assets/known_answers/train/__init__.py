"""Training of the small checkpoints from seeds; see `python -m dnd_assets.known_answers.train`."""
