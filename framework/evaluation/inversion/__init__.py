"""Measures, baselines and the report of inversion."""
