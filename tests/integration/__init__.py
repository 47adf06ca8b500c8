"""Tests of several rooms: the whole workflow, from the command line or through its stages."""
