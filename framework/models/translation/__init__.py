"""Networks from a condition (a sketch, labels, another picture) to a picture."""
