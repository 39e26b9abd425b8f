"""Training of an encoder of another input, such as texts, onto a frozen image encoder's codes."""
