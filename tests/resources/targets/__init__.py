"""Tests of `resources/targets`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "attention": "resources/targets/test_heads.py",
    "autoencoder_files": "methods/sae/test_codes.py",
    "cards": "resources/targets/test_networks.py",
    "declared_coding": "resources/targets/test_ablated.py",
    "declared_layout": "resources/targets/test_layer_layout.py",
    "exact_networks": "resources/targets/test_networks.py",
    "known_networks": "lineage/test_code.py",
    "layer_declared": "resources/targets/test_layer_layout.py",
    "layer_shapes": "resources/targets/test_layer_layout.py",
    "layer_types": "resources/targets/test_layer_layout.py",
    "model_zoos": "resources/targets/test_file_weights.py",
    "network": "resources/targets/test_ablated.py",
    "network_sources": "resources/targets/test_ablated.py",
    "passes": "resources/targets/test_codings.py",
    "pixels": "resources/targets/test_survey.py",
    "seen": "resources/targets/test_survey.py",
    "state_hash": "resources/targets/test_weights.py",
}
"""Where modules without a test file of their name are tested."""
