"""Ways to find handles again, one per file, whose name is the tracker's (`DragSettings.tracker`).

Each has a class `Tracker`, a `framework.drag.interface.Tracker`.
"""
