"""Attention inside ragged windows: every token attends to the tokens of its own window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def window_attention(
    q: Tensor,  # [T,heads,D] float32, float64, float16 or bfloat16
    k: Tensor,  # [T,heads,D]
    v: Tensor,  # [T,heads,D]
    order: Tensor,  # [T] int64, every token once
    offsets: Tensor,  # [W+1] int64, ascending from 0 to at most T
    scale: float,
    temperature: Tensor | None = None,  # [heads]
) -> Tensor:  # [T,heads,D]
    """softmax(scale * q k^T) v among the tokens order[offsets[w]:offsets[w + 1]] of each window w; none is dropped.

    With `temperature` it is the cosine form (Swin v2; SSTv2's CosineMultiheadAttention): q and k are normalised to unit
    length and the logits are divided by the head's temperature instead of multiplied by the scale.

    Order and offsets are those of `window_partition`. A window may be empty and has no size limit; a token in no window
    gives zero. Softmax and sums are in float32 (float64 for float64). Differentiable in q, k, v and temperature. Tokens
    of q, k and v may be apart, as in a view of a packed projection; the heads of a token lie beside each other, or the
    tensor is copied.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or order or offsets name tokens that are not there (on CUDA,
            where looking would make the device wait, the result is then undefined).
    """
    if q.ndim != 3 or not q.shape == k.shape == v.shape:
        raise ValueError(
            f"q, k and v must have one shape [T,heads,D], got {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    if not (q.is_floating_point() and q.dtype == k.dtype == v.dtype):
        raise ValueError(f"q, k and v must have one floating dtype, got {q.dtype}, {k.dtype}, {v.dtype}")
    if order.shape != q.shape[:1] or offsets.ndim != 1 or offsets.shape[0] < 1:
        raise ValueError(
            f"order {tuple(order.shape)} and offsets {tuple(offsets.shape)} must be [T] and [W+1] "
            f"for q {tuple(q.shape)}"
        )
    if order.dtype != torch.int64 or offsets.dtype != torch.int64:
        raise ValueError(f"order ({order.dtype}) and offsets ({offsets.dtype}) must be int64")
    if temperature is not None:
        if temperature.shape != q.shape[1:2]:
            raise ValueError(f"temperature {tuple(temperature.shape)} must be [heads] for q {tuple(q.shape)}")
        temperature = temperature.to(_precise(q))
    out: Tensor = torch.ops.perception.window_attention(q, k, v, order, offsets, scale, temperature)[0]
    return out


def _precise(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32


@torch.library.register_fake("perception::window_attention")
def _window_attention_fake(
    q: Tensor, k: Tensor, v: Tensor, order: Tensor, offsets: Tensor, scale: float, temperature: Tensor | None
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=_precise(q))


@torch.library.register_fake("perception::window_attention_backward")
def _window_attention_backward_fake(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    order: Tensor,
    offsets: Tensor,
    scale: float,
    temperature: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    heads = 0 if temperature is None else q.shape[1]
    return q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(heads, dtype=_precise(q))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, order, offsets, ctx.scale, temperature = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, order, offsets, temperature)


def _backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, out, log_sum, order, offsets, temperature = ctx.saved_tensors
    grad_q, grad_k, grad_v, grad_temperature = torch.ops.perception.window_attention_backward(
        grad_out, q, k, v, out, log_sum, order, offsets, ctx.scale, temperature
    )
    return grad_q, grad_k, grad_v, None, None, None, None if temperature is None else grad_temperature


torch.library.register_autograd("perception::window_attention", _backward, setup_context=_setup_context)
