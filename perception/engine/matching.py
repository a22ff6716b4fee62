"""One-to-one assignment for the query head's loss."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def hungarian(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [min(Q,K)] int64 of the matching of least total cost [Q,K], by scipy on the CPU.

    A cost that is not finite, as early in training, counts as a large one.
    """
    matrix = cost.detach().float().cpu().nan_to_num(1e4, 1e4, -1e4).numpy()
    rows, columns = linear_sum_assignment(matrix)
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)
