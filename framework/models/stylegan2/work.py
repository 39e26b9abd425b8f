"""The cost of synthesis in arithmetic operations."""

from framework.models.stylegan2 import Generator


def synthesis_gflop(generator: Generator, pictures: int = 1) -> float:
    """Count the operations (10^9) in the convolutions for so many pictures; a sketch will do."""
    total = 0
    for block in generator.synthesis.blocks:
        height, width = block.size
        weights = sum(p.numel() for p in block.parameters() if p.dim() == 4)
        total += 2 * weights * height * width
    return pictures * total / 1e9
