"""Tests of `dnd_assets/study`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "band_statistics": "integration/test_inputs.py",
    "compute_settings": "study/test_settings.py",
    "deciding": "study/test_settings.py",
    "image_classes": "assets/test_ablation_effects.py",
    "image_concepts": "assets/test_image_level_labels.py",
    "image_settings": "known_answers/land_cover/test_land_scenes.py",
    "label_files": "analysis/test_foreign_tables.py",
    "mask_sets": "integration/test_segmentation.py",
    "method_settings": "study/test_settings.py",
    "network_settings": "known_answers/test_planted_dictionary.py",
    "scenes": "known_answers/land_cover/test_land_scenes.py",
    "segmentation_settings": "study/test_study.py",
    "selection": "integration/test_layer_declarations.py",
    "study_concepts": "assets/test_clip_dissect_labels.py",
    "text_vectors": "assets/test_named_directions_labels.py",
}
"""Where modules without a test file of their name are tested."""
