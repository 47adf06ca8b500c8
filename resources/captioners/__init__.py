"""Image to text: a base class, and one file for each kind of captioner."""
