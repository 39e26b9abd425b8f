"""Points to a picture: drag handle points of a generated picture to targets (Pan et al. 2023)."""
