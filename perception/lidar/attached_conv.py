"""The convolutions that SST attaches to its dense map: they carry features into the cells between the tokens."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AttachedConv(nn.Sequential):
    """Dense 3x3 convolution, batch norm, ReLU. At inference the norm is folded into the kernel.

    Args:
        channels: of the map, in and out.
        dilation: of the convolution; the map keeps its size.
    """

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
            nn.ReLU(inplace=True),
        )

    def forward(self, bev: Tensor) -> Tensor:
        """bev [B,C,Y,X] -> [B,C,Y,X]."""
        if self.training:
            out: Tensor = super().forward(bev)
            return out
        conv, norm = cast(nn.Conv2d, self[0]), cast(nn.BatchNorm2d, self[1])
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        weight, bias = conv.weight * scale[:, None, None, None], norm.bias - mean * scale
        dilation = conv.dilation[0]
        return F.conv2d(bev, weight, bias, padding=dilation, dilation=dilation).relu_()
