"""Ways to find handles again, one a file, which gives it its name (`DragSettings.tracker`).

Each has a class `Tracker`, a `framework.drag.interface.Tracker`.
"""
