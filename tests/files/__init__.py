"""Tests of `dnd_assets/files`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "containers.bucket_listing": "files/containers/test_bucket.py",
    "containers.contents": "files/containers/test_container_places.py",
    "containers.tables": "files/containers/test_container_places.py",
    "containers.tar_shards": "files/containers/test_container_places.py",
    "image_suffixes": "files/test_image_folders.py",
    "rasters.arrays": "files/test_rasters.py",
    "rasters.colour_maps": "files/test_rasters.py",
    "rasters.cutting": "integration/test_inputs.py",
    "rasters.deep": "files/test_rasters.py",
    "rasters.dicom": "files/test_rasters.py",
    "rasters.extras": "files/test_rasters.py",
    "rasters.raster_formats": "files/test_rasters.py",
    "rasters.raster": "files/test_rasters.py",
    "rasters.reading": "files/test_rasters.py",
    "rasters.rendering": "files/test_rasters.py",
    "rasters.tiff": "files/test_rasters.py",
    "unit_texts": "analysis/test_atlas_ratings.py",
    "unreadable": "files/test_images.py",
}
"""Where modules without a test file of their name are tested."""
