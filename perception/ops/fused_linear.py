"""A linear layer with what follows it in a transformer block."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import LayerNorm
from torch.nn import functional as F


def fused_linear(
    x: Tensor,  # [R,I]
    weight: Tensor,  # [O,I]
    bias: Tensor | None = None,  # [O]
    gelu: bool = False,
    residual: Tensor | None = None,  # [R,O]
    norm: LayerNorm | None = None,  # over O, with weight and bias
) -> Tensor:  # [R,O]
    """x weight^T + bias, then GELU, then the residual added, then layer norm, each where asked for.

    One kernel for float32 inference on the CPU. Where a gradient is wanted, under autocast, on a GPU and in other
    dtypes it is torch's own operators, step by step: they are as fast there, or needed one by one.

    Raises:
        ValueError or RuntimeError (the kernel's, or torch's): shapes disagree.
    """
    norm_weight, norm_bias, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    tensors = [t for t in (x, weight, bias, residual, norm_weight, norm_bias) if t is not None]
    wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    fused = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    if fused and not wants_gradient and not torch.is_autocast_enabled("cpu"):
        out: Tensor = torch.ops.perception.fused_linear(x, weight, bias, gelu, residual, norm_weight, norm_bias, eps)
        return out
    y = F.linear(x, weight, bias)
    if gelu:
        y = F.gelu(y)
    if residual is not None:
        y = residual + y
    return y if norm is None else norm(y)


@torch.library.register_fake("perception::fused_linear")
def _fused_linear_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gelu: bool,
    residual: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    norm_eps: float,
) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))
