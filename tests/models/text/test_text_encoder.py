"""Words, towers and coordinates: what is read of a text, and what it decides."""

import pytest
import torch

from framework.errors import UserError
from framework.models.alignment.code_space import Belief, CodeSpace
from framework.models.text import sentences
from framework.models.text.encoder import TextEncoder
from framework.models.text.words import MOST_WORDS, Vocabulary, words_of

CAPTIONS = ["a red car", "a sky blue van facing left", "a five-spoke wheel, a ring"]
WORDS = Vocabulary.of(CAPTIONS).words


def test_words_are_small_and_hyphens_join():
    assert words_of("A Red, five-spoke_car's wheel!") == ["a", "red", "five-spoke", "car", "s",
                                                          "wheel"]  # fmt: skip
    assert "five-spoke" in WORDS and list(WORDS) == sorted(WORDS)


def test_numbers_are_padded_and_words_that_name_nothing_are_passed_over():
    vocabulary = Vocabulary(WORDS)
    rows = vocabulary.numbers(["red car", "this is the red car facing left"])
    assert rows.shape == (2, 5) and rows[0, 3:].tolist() == [0, 0]
    assert rows[1, 1:3].tolist() == rows[0, 1:3].tolist()


# G53f
@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("...!", "says nothing"),
        ("the and of", "says nothing"),
        ("a crimson car", r"no 'crimson'; they have .*\bred\b"),
        ("a crimson ring", r"no 'crimson'; they have"),
        ("a rad car", r"'rad' \(did you mean red\?\)"),
        ("ein rotes Auto fährt nach links", "'ein'"),
        ("красная машина", "'красная'"),
        ("赤い車", "'赤い車'"),
        ("car " * (MOST_WORDS + 1), f"at most {MOST_WORDS}"),
        ("x" * 401, "401 characters"),
    ],
)
def test_texts_that_cannot_be_read_are_one_line(text, about):
    encoder = TextEncoder("words", 4, 5, coordinates=3, words=WORDS)
    with pytest.raises(UserError, match=about) as error:
        encoder.read([text])
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_padding_changes_nothing():
    torch.manual_seed(0)
    encoder = TextEncoder("words", 4, 5, coordinates=3, words=WORDS)
    torch.nn.init.normal_(encoder.encoder.answer.weight)
    alone = encoder.read(["a red car"])
    both = encoder.read(["a red car", "a sky blue van facing left"])
    assert torch.allclose(alone.mean[0], both.mean[0], atol=1e-6)
    assert not torch.allclose(both.mean[0], both.mean[1], atol=1e-2)


def filled(coordinates: int = 6) -> tuple[CodeSpace, torch.Tensor]:
    torch.manual_seed(1)
    codes = (torch.randn(200, 8) @ torch.randn(8, 20)).unflatten(1, (4, 5)) + 3
    space = CodeSpace(4, 5, coordinates)
    space.set_codes(codes)
    return space, codes


def test_coordinates_have_variance_one_and_lead_back():
    space, codes = filled(8)
    z = space.coordinates(codes)
    assert torch.allclose(z.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(z.T.cov(correction=0), torch.eye(8), atol=1e-3)
    assert torch.allclose(space.mean + space.step(z), codes, atol=1e-3)
    with torch.no_grad():
        space.mixing.copy_(torch.randn(8, 8))
    z = space.coordinates(codes)
    assert torch.allclose(space.mean + space.step(z), codes, atol=1e-2)
    assert torch.allclose(z.std(0, correction=0), space.spread, rtol=1e-3)


def test_what_is_decided_is_reached_and_what_is_left_open_is_kept():
    space, codes = filled()
    mean = torch.tensor([[0.5, -1.0, 2.0, 0.0, 0.0, 1.0]])
    log_std = torch.tensor([[-9.0, -9.0, -9.0, 0.0, 1.0, -0.7]])  # three coordinates are named
    belief = Belief(mean, log_std)
    open_to = 1 - torch.tensor(-1.4).exp()
    wanted = torch.tensor([[1.0, 1, 1, 0, 0, open_to]])
    assert torch.allclose(space.decided(belief), wanted, atol=1e-5)
    before = space.coordinates(codes)
    after = space.transported(before, belief)
    assert torch.allclose(after[:, :3], mean[:, :3].expand(200, -1), atol=1e-3)
    assert torch.equal(after[:, 3:5], before[:, 3:5])
    assert after[:, 5].mean().item() == pytest.approx(1, abs=1e-3)
    assert after[:, 5].std(correction=0).item() == pytest.approx(0.4966, abs=1e-2)  # exp(-0.7)
    careful = space.approached(before, belief)
    assert torch.allclose(careful[:, :5], after[:, :5], atol=1e-3)
    halfway = before[:, 5] + open_to * (1 - before[:, 5])
    assert torch.allclose(careful[:, 5], halfway, atol=1e-4)
    drawn = space.coordinates(space.drawn(belief, torch.ones(1, 6), psi=0.0))
    assert torch.allclose(drawn, mean, atol=1e-3)


def test_too_few_codes_or_too_flat_ones_are_named():
    with pytest.raises(UserError, match="too few"):
        CodeSpace(4, 5, 6).set_codes(torch.randn(6, 4, 5))
    with pytest.raises(UserError, match="vary in 2 directions"):
        CodeSpace(4, 5, 6).set_codes((torch.randn(99, 2) @ torch.randn(2, 20)).view(99, 4, 5))
    with pytest.raises(UserError, match="coordinates 21"):
        CodeSpace(4, 5, 21)


# G53f
def test_the_other_tower_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda name: None)
    encoder = TextEncoder("minilm", 4, 5, coordinates=3)
    with pytest.raises(UserError, match=r"dragline\[text\]"):
        encoder.read(["a red car"])
    with pytest.raises(UserError, match="words or minilm"):
        TextEncoder("clip", 4, 5)
