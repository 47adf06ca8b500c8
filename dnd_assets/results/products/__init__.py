"""What readers are told of each product: a file an asset, which says it once.

Columns with their meaning and their place in the product, lines of a trace, what the interface
shows. Exports, frames, the data dictionary and the database's views are made from these. A product
that has no file here is shown as what all products of its kind have in common.
"""
