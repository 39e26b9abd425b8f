"""Contextual attention (Yu et al. 2018, section 4.1): features in a hole from like ones outside."""

import torch
import torch.nn.functional as F
from torch import Tensor

_PATCH = 3
_SHARPNESS = 10.0  # of the choice (Yu et al. 2018)


def contextual_attention(features: Tensor, hole: Tensor) -> Tensor:
    """Rebuild each feature from known patches that are like its own surroundings.

    Args:
        features: Features (N, C, h, w).
        hole: Share of each place that is unknown, (N, 1, h, w), 0 to 1.

    Returns:
        Features (N, C, h, w): each a mean of patches, weighted by the softmax of the cosine
        between their patch and this one's; a picture that is nothing but hole gets zeros.
    """
    count, channels, height, width = features.shape
    patches = F.unfold(features, _PATCH, padding=1)  # (N, C * 9, places)
    directions = F.normalize(patches, dim=1)
    likeness = _SHARPNESS * directions.transpose(1, 2) @ directions  # (N, places, known places)
    touched = F.max_pool2d((hole > 0).to(features), _PATCH, 1, 1).flatten(2) > 0  # (N, 1, places)
    likeness = likeness.masked_fill(touched, -torch.inf)
    share = torch.where(touched.all(dim=2, keepdim=True), 0.0, likeness.softmax(dim=2).nan_to_num())
    rebuilt = patches @ share.transpose(1, 2)
    summed = F.fold(rebuilt, (height, width), _PATCH, padding=1)
    overlap = F.fold(torch.ones_like(rebuilt), (height, width), _PATCH, padding=1)
    return (summed / overlap).view(count, channels, height, width)
