"""How alike pictures look to frozen networks: features, distances, and where weights come from."""
