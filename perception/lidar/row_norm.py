"""Batch norm over rows (points or voxels), of which a cloud may have next to none."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def row_norm(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """rows [R,C] through `norm`. Batch statistics of fewer than two rows do not exist: there the running ones serve.

    A SyncBatchNorm takes its statistics over all processes, which wait for each other: it is always asked.
    """
    if norm.training and rows.shape[0] < 2 and not isinstance(norm, nn.SyncBatchNorm):
        return F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    out: Tensor = norm(rows)
    return out
