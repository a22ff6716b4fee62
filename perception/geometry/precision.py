"""Full precision, where metres need it, inside a network that computes in half."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
T = TypeVar("T")


def without_autocast(function: Callable[P, T]) -> Callable[P, T]:
    """The function with autocast off on the device of its first tensor.

    Autocast runs every matrix product in half precision, projections too: with eight bits, a point 50 m away lands
    metres or pixels from its place.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


class Float32Module(nn.Module):
    """Moves between devices as any module does; `half()`, `bfloat16()` and `to(dtype)` leave it in float32."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_float32(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return tensor.to(out.device) if out.dtype in (torch.float16, torch.bfloat16) else out

        return super()._apply(keep_float32, recurse)
