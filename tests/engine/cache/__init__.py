"""Tests of `dnd_assets/engine/cache`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "caption_likelihoods": "assets/test_milan_labels.py",
    "paid_images": "resources/text_to_image/test_image_server.py",
    "shared_results": "analysis/test_image_query.py",
    "unstored_vectors": "engine/workers/test_every_product.py",
    "vector_blocks": "engine/workers/test_handing_out.py",
}
"""Where modules without a test file of their name are tested."""
