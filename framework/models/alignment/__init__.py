"""Other inputs than pictures, such as texts, encoded onto the codes of a frozen image encoder."""
