"""Tests of `dnd_assets/results/products`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "activations": "results/products/test_registry.py",
    "captions": "results/products/test_registry.py",
    "concept_activations": "results/products/test_registry.py",
    "concept_masks": "results/products/test_registry.py",
    "crops": "results/products/test_registry.py",
    "image_sets": "results/products/test_registry.py",
    "other_labels": "results/products/test_registry.py",
    "pixel_labels": "results/products/test_registry.py",
    "scores": "results/products/test_registry.py",
    "synthetic_images": "results/products/test_registry.py",
}
"""Where modules without a test file of their name are tested."""
