"""Measures, baselines and the report of inversions."""
