"""Tests of the benchmarks: short forms of each, and what they print."""
