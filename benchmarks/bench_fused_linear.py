"""The linear layers of SST's blocks with what follows them, against torch step by step. Floor: the product alone."""

from __future__ import annotations

import torch
from timing import compare, median_ms
from torch import Tensor, nn
from torch.nn import functional as F

from perception.ops.fused_linear import fused_linear

TOKENS, CHANNELS, HIDDEN = 5_242, 128, 256


@torch.no_grad()
def main() -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(CHANNELS)
    for name, inputs, outputs, gelu, ends in (
        ("queries and keys", CHANNELS, 2 * CHANNELS, False, False),
        ("output, residual, norm", CHANNELS, CHANNELS, False, True),
        ("hidden, GELU", CHANNELS, HIDDEN, True, False),
        ("from hidden, residual, norm", HIDDEN, CHANNELS, False, True),
    ):
        x, weight, bias = torch.randn(TOKENS, inputs), torch.randn(outputs, inputs) * inputs**-0.5, torch.randn(outputs)
        residual = torch.randn(TOKENS, outputs) if ends else None

        def ours(x=x, weight=weight, bias=bias, gelu=gelu, residual=residual) -> Tensor:
            return fused_linear(x, weight, bias, gelu, residual, norm if residual is not None else None)

        def steps(x=x, weight=weight, bias=bias, gelu=gelu, residual=residual) -> Tensor:
            y = F.linear(x, weight, bias)
            y = F.gelu(y) if gelu else y
            return y if residual is None else norm(residual + y)

        if not torch.allclose(ours(), steps(), atol=1e-4):
            raise RuntimeError(f"{name}: torch gives another result")
        floor_ms = median_ms(lambda x=x, weight=weight: F.linear(x, weight))
        compare(f"fused_linear ({name})", ours, steps, "linear, gelu, add, layer_norm", floor_ms)


if __name__ == "__main__":
    main()
