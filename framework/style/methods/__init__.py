"""Ways to give a photograph another picture's style, one per file: `StyleSettings.method`.

Each has

- `run(content, style, networks, settings)`, a generator of steps
  (`framework.compositing.filling.FillStep`). Both pictures are float32 (1, 3, H, W) in [-1, 1],
  each of its own size; a step's picture shows the content, and may be smaller;
- `KEEPS_EDGES`, whether what it makes is carried to the photograph's full size by colours alone,
  with no detail that the photograph does not have (`framework.style.carry`).
"""
