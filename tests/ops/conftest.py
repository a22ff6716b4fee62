"""Fixtures of the operator tests."""

from collections.abc import Iterator

import pytest
import torch

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def device(request: pytest.FixtureRequest) -> str:
    """Every place where an op has a kernel."""
    return request.param


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Lets a test change torch's number of threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
