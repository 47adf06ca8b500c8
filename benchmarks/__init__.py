"""Figures that take too long for a test, each printed by one command."""
