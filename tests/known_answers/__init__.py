"""Tests of `dnd_assets/known_answers`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "masked_world": "integration/test_segmentation.py",
    "render": "known_answers/test_planted_dictionary.py",
    "train.captioner": "known_answers/test_training.py",
    "train.clip": "known_answers/test_training.py",
    "train.common": "known_answers/test_training.py",
    "train.hard": "known_answers/hard/test_hard_network.py",
    "train.latent_reader": "known_answers/test_painting.py",
    "train.perception": "known_answers/test_painting.py",
    "train.phrases": "known_answers/test_training.py",
    "train.prompt_loss": "known_answers/test_painting.py",
    "train.recogniser": "known_answers/test_checkpoints.py",
    "train.refine": "known_answers/test_painting.py",
    "train.release": "known_answers/test_checkpoints.py",
    "train.text_to_image": "known_answers/test_painting.py",
    "train.tokens": "known_answers/test_training.py",
    "train.training_figures": "known_answers/test_checkpoints.py",
    "train.vae": "known_answers/test_painting.py",
    "train.views": "known_answers/test_training.py",
}
"""Where modules without a test file of their name are tested."""
