"""Text to image: a base class, and one file for each kind of painter."""
