"""Ways to drag, one per file, whose name is the method's (`DragSettings.method`).

Each has `run(draggable, drag, settings, resume_from=None)`, a generator of the `DragStep`s that
`framework.drag.algorithm.drag_points` describes, for any `framework.drag.interface.Draggable`.
"""
