"""Encoders of images and texts: open_clip, ConSE, and sentence encoders."""
