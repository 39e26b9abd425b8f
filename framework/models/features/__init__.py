"""How alike pictures look to frozen networks: features, distances, and their weights."""
