"""The study: the TOML that says what to label and how, and the files that it names.

Here: sections, loading, selection of units, which settings decide which product.
Not here: running anything.
"""
