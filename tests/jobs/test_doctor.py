"""What a machine is asked, also one that lacks what it needs."""

import sys

from framework.jobs.doctor import examine
from framework.jobs.requests.files import DoctorRequest


def test_examine_goes_on_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = examine(DoctorRequest())
    assert len(found.problems) == 1 and "torch cannot be imported" in str(found.problems[0])
    assert found.facts["python"] and "forward_ms" not in found.facts
