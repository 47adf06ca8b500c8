"""The assets, one file for each product, in the order of the graph."""
