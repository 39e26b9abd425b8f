"""Measures of a generator's pictures."""
