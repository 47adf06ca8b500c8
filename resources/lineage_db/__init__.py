"""The lineage: journal, DuckDB index, and readers that touch nothing."""
