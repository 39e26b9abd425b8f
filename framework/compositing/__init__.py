"""From a photograph to a model's canvas and back: geometry, cropping, pasting."""
