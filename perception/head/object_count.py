"""The number that a loss over objects or cells is divided by, alike in every process of a distributed run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def object_count(count: int | Tensor, device: torch.device) -> Tensor:
    """Mean over the processes of how many objects (or cells, or their weight) each one has, at least 1; [] float32.

    DDP averages gradients over processes. Were each loss divided by its own process's count, an object would weigh the
    more the fewer others share its process; so, the result is that of one process with all samples (as DETR's
    num_boxes, Carion et al., ECCV 2020). Every process has to come by here equally often in a step.
    """
    return mean_over_processes(torch.as_tensor(count, dtype=torch.float32, device=device)).clamp(min=1)


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of float32 values over the processes of a distributed run, to which each has to come equally often."""
    values = values.clone()
    if distributed.is_available() and distributed.is_initialized() and not _ALONE.get():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values


@contextmanager
def counting_alone() -> Iterator[None]:
    """Within it a process counts its own objects only: the others do not take the step that it takes."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)
