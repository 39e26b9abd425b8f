"""The numerics everything stands on: pure PyTorch, differentiable twice."""
