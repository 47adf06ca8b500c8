"""Tests of `dnd_assets/assets`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "exemplar_parts": "engine/workers/test_handing_out.py",
    "ablated_groups": "assets/test_group_ablation_effects.py",
    "ablation_parts": "assets/test_ablation_effects.py",
    "ablation_runs": "assets/test_ablation_effects.py",
    "activations": "integration/test_firing.py",
    "captions": "integration/test_models_through_pipeline.py",
    "compositions_labels": "integration/test_segmentation.py",
    "concept_activations": "assets/test_clip_dissect_labels.py",
    "concept_masks": "integration/test_failing_maps.py",
    "crops": "benchmarks/test_reliability.py",
    "custom_labels": "test_docs.py",
    "held_out_images": "assets/test_label_metrics.py",
    "image_invert_labels": "assets/test_image_level_labels.py",
    "image_sets": "assets/test_label_metrics.py",
    "invert_labels": "integration/test_segmentation.py",
    "linear_explanation_labels": "assets/test_image_level_labels.py",
    "network_dissection_labels": "integration/test_segmentation.py",
    "own_methods": "integration/test_own_code.py",
    "probing_set": "assets/test_clip_dissect_labels.py",
    "resolved": "assets/test_clip_dissect_labels.py",
    "scores": "integration/test_firing.py",
    "segmentation.map_labels": "integration/test_segmentation.py",
    "segmentation.map_parts": "engine/workers/test_handing_out.py",
    "segmentation.map_passes": "integration/test_failing_maps.py",
    "segmentation.map_pictures": "integration/test_segmentation.py",
    "segmentation.map_readers": "integration/test_segmentation.py",
    "segmentation.masked_images": "integration/test_segmentation.py",
    "synthetic_images": "integration/test_rejected_pictures.py",
    "truths": "assets/test_label_metrics.py",
}
"""Where modules without a test file of their name are tested."""
