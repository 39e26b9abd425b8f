"""The manner of a picture: statistics of frozen features, and a decoder of adapted ones."""
