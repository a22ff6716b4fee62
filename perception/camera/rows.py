"""In training, absent cameras are left out of the network instead of computed and zeroed.

A black picture would enter the statistics of every batch norm, and a batch that mixes rigs would be mostly black: one
camera beside twelve is padded with eleven. At inference nothing is left out, so that shapes do not depend on the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor


def present_rows(camera_mask: Tensor) -> Tensor:
    """Flat numbers [M] int64 of the cameras [B,N] bool that are there; of the first one where there is none at all,
    since batch norms take no empty batch (its results are masked like any absent camera's)."""
    flat = camera_mask.flatten()
    first = torch.zeros_like(flat)
    first[:1] = ~flat.any()
    return (flat | first).nonzero().flatten()


def placed(rows: Tensor, present: Tensor | None, count: int, dim: int = 0) -> Tensor:
    """Results of the present cameras along `dim` in their places among `count`, zero elsewhere; as they are without a
    choice."""
    if present is None:
        return rows
    shape = list(rows.shape)
    shape[dim] = count
    return rows.new_zeros(shape).index_copy(dim, present, rows)
