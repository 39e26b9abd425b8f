"""Linear probes: the direction of w along which an attribute rises.

Shen et al. 2020 (InterFaceGAN) take the normal of a linear classifier; so is it here, by ridge
regression for numbers and ridge logistic regression for yes and no. How well the probe tells
latents that it was not fitted on is part of what is found: a direction of chance says so.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError

FOLDS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # shares of the mean variance of a coordinate
_NEWTON_STEPS = 12
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe.

    Args:
        vector: Direction of w along which the attribute rises, (w_dim,), float64.
        score: On latents that were not fitted: R² of numbers; of yes and no the mean of the
            accuracies on both (chance is 0.5).
        penalty: The ridge that was best on them.
        binary: Whether the attribute is yes and no.
        count: Number of latents.
    """

    vector: Tensor
    score: float
    penalty: float
    binary: bool
    count: int


def fit_probe(w: Tensor, values: Tensor, name: str = "attribute") -> Probe:
    """Fit a probe of one attribute; its ridge is chosen on latents that were left out.

    Args:
        w: Latents (M, w_dim).
        values: The attribute of each, (M,); only 0 and 1 make it a matter of yes and no.
        name: The attribute's name, for messages.

    Raises:
        UserError: If there are too few latents, or the attribute never changes.
    """
    w, values = w.cpu().double(), values.cpu().double()
    if len(w) < _FEWEST:
        raise UserError(f"{name}: {len(w)} pictures; a probe needs at least {_FEWEST}")
    if values.min() == values.max():
        raise UserError(f"{name}: is {values[0].item():g} in all {len(w)} pictures; leave it out")
    binary = bool(((values == 0) | (values == 1)).all())
    solve = logistic if binary else ridge
    # Every fold gets its share of both answers, and of low and high numbers.
    fold = torch.empty(len(values), dtype=torch.long)
    fold[values.argsort(stable=True)] = torch.arange(len(values)) % FOLDS
    scores = []
    for penalty in PENALTIES:
        guesses = torch.empty_like(values)
        for k in range(FOLDS):
            kept = fold != k
            vector, bias = solve(w[kept], values[kept], penalty)
            guesses[~kept] = w[~kept] @ vector + bias
        scores.append(_balanced(guesses, values) if binary else _r_squared(guesses, values))
    best = max(range(len(scores)), key=scores.__getitem__)
    vector, _ = solve(w, values, PENALTIES[best])
    return Probe(vector, scores[best], PENALTIES[best], binary, len(w))


def ridge(w: Tensor, values: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Ridge regression: the b that minimises |values - w b - c|² + penalty |b|² (Hoerl 1970).

    The penalty is relative to the mean variance of a coordinate times the number of rows.

    Returns:
        b (w_dim,) and c ().
    """
    mean, centred = w.mean(dim=0), w - w.mean(dim=0)
    gram = centred.T @ centred
    vector = torch.linalg.solve(_with_ridge(gram, penalty), centred.T @ (values - values.mean()))
    return vector, values.mean() - mean @ vector


def logistic(w: Tensor, answers: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Logistic regression with a ridge, by Newton's method (IRLS); answers are 0 and 1.

    Both answers weigh alike, however rare one is; arguments and result as in `ridge`.
    """
    mean = w.mean(dim=0)
    inputs = torch.cat([w - mean, torch.ones_like(w[:, :1])], dim=1)
    share = answers.mean()
    weight = torch.where(answers == 1, 0.5 / share, 0.5 / (1 - share))
    sphere = penalty * (w - mean).square().mean() * len(w) / 4
    prior = torch.full_like(inputs[0], float(sphere))
    prior[-1] = 1e-9
    b = torch.zeros_like(inputs[0])
    for _ in range(_NEWTON_STEPS):
        chance = (inputs @ b).sigmoid()
        gradient = inputs.T @ (weight * (answers - chance)) - prior * b
        curved = weight * (chance * (1 - chance)).clamp(min=1e-9)
        b = b + torch.linalg.solve((inputs.T * curved) @ inputs + prior.diag(), gradient)
    return b[:-1], b[-1] - mean @ b[:-1]


def _with_ridge(gram: Tensor, penalty: float) -> Tensor:
    return gram + penalty * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)


def _r_squared(guesses: Tensor, values: Tensor) -> float:
    error = (guesses - values).square().sum() / (values - values.mean()).square().sum()
    return 1 - error.item()


def _balanced(guesses: Tensor, answers: Tensor) -> float:
    right = ((guesses > 0) == (answers == 1)).double()
    return (right[answers == 1].mean() + right[answers == 0].mean()).item() / 2
