"""Between a photograph and the square that a model sees: geometry, cropping, pasting back."""
