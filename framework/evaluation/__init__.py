"""Evaluation: judges and benchmarks that know nothing of the models they measure."""
