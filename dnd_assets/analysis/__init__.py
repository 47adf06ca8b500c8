"""Questions that are asked of finished labels.

Here: evaluation against truths, comparison of methods, search, pictures asked of units, clarity.
Not here: what computes labels (`assets`), and how results are read back (`results`).
"""
