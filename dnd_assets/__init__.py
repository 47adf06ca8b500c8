"""Describe-and-Dissect as a reproducible workflow of Dagster assets."""
