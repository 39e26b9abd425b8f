"""How good is it? Judges and benchmarks that know nothing of the models they measure."""
