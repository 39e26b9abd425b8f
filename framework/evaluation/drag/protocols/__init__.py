"""Protocols of the benchmark, one per file, whose name is the protocol's.

Each has a `PROTOCOL`, a `framework.evaluation.drag.protocol.DragProtocol`.
"""
