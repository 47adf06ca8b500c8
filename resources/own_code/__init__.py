"""Code that a study names: what belongs to it, what it uses, and how it is imported."""
