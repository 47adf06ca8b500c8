"""Files that people give, read with care, and files that are written whole or not at all.

Here: images, folders, masks, concept sets, tables, texts by unit.
Not here: the store of artefacts (`resources.artefact_store`), settings (`study`).
"""
