"""Ways to fill a hole, one per file, whose name is the method's (`FillSettings.method`).

Each has `run(picture, hole, settings)`, a generator of `framework.compositing.filling.FillStep`s:

- `picture` is float32 (1, C, H, W) in [-1, 1] with any number of channels, whose values in the hole
  mean nothing; `hole` is bool (H, W), neither empty nor everything;
- the last step shows the filled picture at full size, earlier ones may be smaller; what they show
  outside the hole does not matter.
"""
