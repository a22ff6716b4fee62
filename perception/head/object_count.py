"""The number that a loss over objects is divided by, alike in every process of a distributed run."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def object_count(count: int | Tensor, device: torch.device) -> Tensor:
    """Mean over the processes of how many objects each one has, at least 1; [] float32.

    DDP averages gradients over processes. Were each loss divided by its own process's count, an object would weigh the
    more the fewer others share its process; so, the result is that of one process with all samples (as DETR's
    num_boxes, Carion et al., ECCV 2020).
    """
    total = torch.as_tensor(count, dtype=torch.float32, device=device).clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        total /= distributed.get_world_size()
    return total.clamp(min=1)
