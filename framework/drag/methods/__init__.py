"""Ways to drag, one a file, which gives the method its name (`DragSettings.method`).

Each has `run(draggable, drag, settings, resume_from=None)`, a generator of the `DragStep`s that
`framework.drag.algorithm.drag_points` describes, for any `framework.drag.interface.Draggable`.
"""
