"""Labels from pixel masks: Network Dissection, compositions, INVERT, and what they share."""
