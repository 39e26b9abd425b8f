"""Text to pictures, measured: a judge of traits, and tables of what texts got right."""
