"""Command lines: they turn words into calls and results into files. Torch loads only to work."""
