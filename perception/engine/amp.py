"""Mixed precision in bfloat16 on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn


class Bfloat16OptimWrapper(OptimWrapper):
    """Runs the forward under bfloat16 autocast. mmengine's AmpOptimWrapper refuses to run on the CPU; bfloat16 needs
    no loss scaling, so nothing else of it is missed. For float16 on a GPU use AmpOptimWrapper."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[Any]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
