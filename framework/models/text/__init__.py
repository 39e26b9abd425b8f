"""Towers of text: from words, or from sentences of a packaged model, to features."""
