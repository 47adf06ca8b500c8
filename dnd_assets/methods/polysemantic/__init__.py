"""Units of several concepts: groups of exemplars, and when two groups are one concept."""
