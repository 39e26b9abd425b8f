"""The judge and the benchmark of drags."""
