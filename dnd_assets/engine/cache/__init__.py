"""Work that belongs to a picture or a concept, done once and shared by all units.

Here: get-or-compute by content, and the stores of pictures and vectors behind it.
Not here: models that do the work (`resources`).
"""
