"""Rosinality's factor files are read as data, whichever torch wrote them."""

import pytest
import torch

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.factors import read_factor


# G22f
@pytest.mark.parametrize("zip_", [True, False])
def test_its_columns_are_directions(tmp_path, zip_):
    eigvec = torch.linalg.qr(torch.randn(6, 6)).Q
    value = {"ckpt": "checkpoint/550000.pt", "eigvec": eigvec}
    torch.save(value, tmp_path / "factor.pt", _use_new_zipfile_serialization=zip_)
    factor = read_factor(tmp_path / "factor.pt")
    assert factor.model_name == "checkpoint/550000.pt"
    assert torch.equal(factor.directions, eigvec.T)


class Attack:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


# G22f
@pytest.mark.parametrize(
    ("value", "kind", "complaint"),
    [
        ({"ckpt": "x"}, UserError, "without eigvec"),
        (torch.ones(3, 3), UserError, "without eigvec"),
        ({"eigvec": torch.ones(3)}, UserError, r"shape \(3,\) is not"),
        ({"eigvec": torch.ones(0, 3)}, UserError, "is not"),
        ({"eigvec": torch.full((2, 2), float("nan"))}, UserError, "no finite numbers"),
        ({"eigvec": torch.ones(2, 2, dtype=torch.long)}, UserError, "no finite numbers"),
        ({"eigvec": torch.ones(2, 2), "x": Attack()}, UnsafeCheckpoint, "factor.pt"),
    ],
)
def test_what_is_no_factor_file_is_refused(tmp_path, value, kind, complaint):
    torch.save(value, tmp_path / "factor.pt")
    with pytest.raises(kind, match=complaint):
        read_factor(tmp_path / "factor.pt")


def test_a_cut_file_is_damaged_and_a_text_none(tmp_path):
    torch.save({"eigvec": torch.ones(4, 4)}, tmp_path / "factor.pt")
    whole = (tmp_path / "factor.pt").read_bytes()
    (tmp_path / "factor.pt").write_bytes(whole[:-200])
    with pytest.raises(BrokenCheckpoint):
        read_factor(tmp_path / "factor.pt")
    (tmp_path / "a.pt").write_bytes(b"\x00\x01 no torch file at all")
    with pytest.raises(UserError):
        read_factor(tmp_path / "a.pt")
