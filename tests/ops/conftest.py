import os
import shutil

import pytest

from framework.ops import compiled


@pytest.fixture(autouse=True)
def torchs_own():
    """Every test begins and ends with torch's own operations."""
    compiled._active.clear()
    yield
    compiled._active.clear()


@pytest.fixture(scope="session")
def cpu_ops():
    """The compiled operations, built once for this machine and kept in the user's cache."""
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")
    compiled.use_ops("compiled", "cpu")
