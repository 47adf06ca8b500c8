"""What the assets of labels from pixel masks share: passes over maps and masks.

Not here: the assets themselves, one file each in `assets`.
"""
