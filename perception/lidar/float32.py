"""Modules that stay in float32 when the network around them is cast to half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Float32Module(nn.Module):
    """Moves between devices as any module does; `half()`, `bfloat16()` and `to(dtype)` leave it in float32."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_float32(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return tensor.to(out.device) if out.dtype in (torch.float16, torch.bfloat16) else out

        return super()._apply(keep_float32, recurse)
