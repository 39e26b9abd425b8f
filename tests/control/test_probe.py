"""Linear probes against plain algebra, and planted directions that they find again."""

import pytest
import torch

from framework.control.probe import fit_probe, logistic, ridge
from framework.errors import UserError


@pytest.fixture(scope="module")
def w():
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(8, 8, generator=rng, dtype=torch.float64)
    return torch.randn(400, 8, generator=rng, dtype=torch.float64) @ mixing + 3


PLANTED = torch.tensor([1.0, -2, 0, 0.5, 0, 0, 1, 0], dtype=torch.float64)


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def test_a_planted_number_is_found_again(w):
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(len(w), generator=rng, dtype=torch.float64)
    probe = fit_probe(w, 5 + w @ PLANTED + 0.1 * noise)
    assert not probe.binary and probe.score > 0.99 and cosine(probe.vector, PLANTED) > 0.999


def test_a_planted_yes_and_no_is_found_again(w):
    answers = (w @ PLANTED > (w @ PLANTED).quantile(0.8)).double()
    probe = fit_probe(w, answers)
    assert probe.binary and probe.score > 0.93 and cosine(probe.vector, PLANTED) > 0.98


def test_chance_is_not_taken_for_knowledge(w):
    values = torch.randn(len(w), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert fit_probe(w, values).score < 0.1
    assert abs(fit_probe(w, (values > 0).double()).score - 0.5) < 0.1


def test_ridge_is_its_formula(w):
    values = w @ PLANTED + w[:, 0].square()
    vector, bias = ridge(w, values, 0.1)
    # The same as least squares of rows added for the penalty, centred.
    centred, wanted = w - w.mean(dim=0), values - values.mean()
    strength = (0.1 * (centred.T @ centred).diagonal().mean()).sqrt()
    rows = torch.cat([centred, strength * torch.eye(8, dtype=w.dtype)])
    naive = torch.linalg.lstsq(rows, torch.cat([wanted, wanted.new_zeros(8)])[:, None]).solution
    torch.testing.assert_close(vector, naive[:, 0])
    assert (w @ vector + bias).mean().item() == pytest.approx(values.mean().item())


def test_logistic_is_where_its_loss_is_least(w):
    answers = (w @ PLANTED + 3 * w[:, 1].sin() > 0).double()
    vector, bias = logistic(w, answers, 0.1)
    point = torch.cat([vector, bias[None]]).requires_grad_(True)
    share = answers.mean()
    weight = torch.where(answers == 1, 0.5 / share, 0.5 / (1 - share))
    sphere = 0.1 * (w - w.mean(dim=0)).square().mean() * len(w) / 4
    logits = w @ point[:-1] + point[-1]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, answers, weight, reduction="sum"
    )
    (gradient,) = torch.autograd.grad(loss + sphere / 2 * point[:-1].square().sum(), point)
    assert gradient.abs().max() < 1e-4


# G23f
@pytest.mark.parametrize(
    ("values", "complaint"),
    [(torch.full((400,), 2.0), "hue: is 2 in all 400 pictures; leave it out"),
     (torch.arange(5.0), "hue: 5 pictures; a probe needs at least 20")],
)  # fmt: skip
def test_an_attribute_that_tells_nothing_is_refused(w, values, complaint):
    with pytest.raises(UserError, match=complaint):
        fit_probe(w[: len(values)], values, "hue")
