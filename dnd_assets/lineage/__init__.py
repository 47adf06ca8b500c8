"""Fingerprints, records and traces: what was made from what."""
