"""Tests of `dnd_assets/results`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "diff": "assets/test_clip_dissect_labels.py",
    "export.for_others.maia": "results/export/for_others/test_cards_export.py",
    "export.for_others.neuronpedia": "results/export/for_others/test_cards_export.py",
    "export.for_others.saedashboard": "results/export/for_others/test_cards_export.py",
    "products.product_view": "results/products/test_registry.py",
    "recorded": "integration/test_audit.py",
    "runs": "integration/test_command_line.py",
    "tables.columns": "results/export/test_export.py",
    "tables.database_views": "results/products/test_registry.py",
    "tables.dictionary": "results/export/test_export.py",
    "tables.lineage_tables": "results/export/test_export.py",
    "tables.product_rows": "results/products/test_registry.py",
    "tables.table_source": "results/export/test_export.py",
    "trace_tree": "assets/test_detection_scores.py",
}
"""Where modules without a test file of their name are tested."""
