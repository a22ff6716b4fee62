"""Sum, mean or maximum over groups of rows."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "max"]


def segment_reduce(
    values: Tensor,  # [P,C] float32, float64, float16 or bfloat16
    order: Tensor,  # [P] int64, every row once
    offsets: Tensor,  # [V+1] int64, ascending from 0 to at most P
    reduce: Reduction,
) -> Tensor:  # [V,C]
    """Reduce the rows order[offsets[v]:offsets[v + 1]] of `values` for each segment v. Differentiable in `values`.

    Order and offsets are those of `voxelize` or `window_partition`. An empty segment gives zero. A NaN makes the result
    of its segment NaN. The gradient of a maximum goes to the first row, in order, that attains it.

    Raises:
        ValueError: shapes or dtypes disagree, or an unknown reduction.
    """
    if reduce not in ("sum", "mean", "max"):
        raise ValueError(f"reduce must be sum, mean or max, got {reduce!r}")
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(f"values must be [P,C] floating point, got {tuple(values.shape)} {values.dtype}")
    if order.shape != values.shape[:1] or offsets.ndim != 1 or offsets.shape[0] < 1:
        raise ValueError(
            f"order {tuple(order.shape)} and offsets {tuple(offsets.shape)} must be [P] and [V+1] "
            f"for values {tuple(values.shape)}"
        )
    if order.dtype != torch.int64 or offsets.dtype != torch.int64:
        raise ValueError(f"order ({order.dtype}) and offsets ({offsets.dtype}) must be int64")
    return torch.ops.perception.segment_reduce(values, order, offsets, reduce)


@torch.library.register_fake("perception::segment_reduce")
def _segment_reduce_fake(values: Tensor, order: Tensor, offsets: Tensor, reduce: str) -> Tensor:
    return values.new_empty((offsets.shape[0] - 1, values.shape[1]))


@torch.library.register_fake("perception::segment_reduce_backward")
def _segment_reduce_backward_fake(
    grad: Tensor, order: Tensor, offsets: Tensor, reduce: str, values: Tensor | None, out: Tensor | None
) -> Tensor:
    return grad.new_empty((order.shape[0], grad.shape[1]))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, str], output: Tensor) -> None:
    values, order, offsets, reduce = inputs
    ctx.reduce = reduce
    # Only a maximum's gradient depends on the values.
    ctx.save_for_backward(order, offsets, *((values, output) if reduce == "max" else (None, None)))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    order, offsets, values, out = ctx.saved_tensors
    grad_values = torch.ops.perception.segment_reduce_backward(grad, order, offsets, ctx.reduce, values, out)
    return grad_values, None, None, None


torch.library.register_autograd("perception::segment_reduce", _backward, setup_context=_setup_context)
