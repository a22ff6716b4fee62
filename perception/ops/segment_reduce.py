"""Sum, mean or maximum over groups of rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "max"]


def segment_reduce(
    values: Tensor,  # [P,C] float
    order: Tensor,  # [>= offsets[-1]] int64
    offsets: Tensor,  # [V+1] int64
    reduce: Reduction,
) -> Tensor:  # [V,C]
    """Reduce the rows order[offsets[v]:offsets[v + 1]] of `values` for each segment v. Differentiable in `values`.

    Raises:
        ValueError: unknown reduction.
    """
    if reduce not in ("sum", "mean", "max"):
        raise ValueError(f"reduce must be sum, mean or max, got {reduce!r}")
    counts = offsets.diff()
    segment = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts)
    rows = values[order[: len(segment)]]
    index = segment[:, None].expand_as(rows)
    how = {"sum": "sum", "mean": "mean", "max": "amax"}[reduce]
    out = rows.new_zeros((len(counts), values.shape[1]))
    return out.scatter_reduce(0, index, rows, how, include_self=False)
