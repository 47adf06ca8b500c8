"""Tests of `resources/text_to_image`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "diffusion_speed": "resources/runtime/test_precision.py",
    "hard_world": "known_answers/hard/test_hard_scenes.py",
    "image_options": "resources/text_to_image/test_image_server.py",
    "kinds.diffusers": "study/test_settings.py",
    "kinds.hard_world": "known_answers/hard/test_hard_scenes.py",
}
"""Where modules without a test file of their name are tested."""
