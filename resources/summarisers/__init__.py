"""Captions to candidate concepts: with a language model or without."""
