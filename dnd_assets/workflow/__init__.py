"""Dagster and runs: definitions, assets by unit, checks, runs from the command line, their end.

Here: everything that knows Dagster, and what stands before a run (init, doctor, preflight).
Not here: what decides what is computed (`engine`).
"""
