"""Networks to be described: where they come from, their weights, their layers."""
