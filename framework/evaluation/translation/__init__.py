"""Translations compared: how real, how faithful, how diverse, how fast."""
