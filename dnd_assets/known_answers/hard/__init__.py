"""A harder generated world: faint textures, places, and planted units of twelve kinds.

Here: its scenes and pictures, its network, the truths of its units, and its captioner.
Not here: training (`known_answers.train.hard`), and judging labels (`analysis`).
"""
