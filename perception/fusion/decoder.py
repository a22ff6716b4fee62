"""The BEV decoder: a few strided stages and their sum at one stride (as SECOND's, Yan et al., Sensors 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03),
        nn.ReLU(inplace=True),
    )


class BEVDecoder(nn.Module):
    """Stages at growing strides, each brought back to the first stage's stride and concatenated.

    Args:
        in_channels: channels of the fused map.
        channels: channels of each stage.
        layers: 3x3 convolutions of each stage, the strided first one included.
        first_stride: stride of the first stage, and so of the output. Every later stage halves the map again.
        out_channels: channels of each stage's share of the output.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (128, 256),
        layers: Sequence[int] = (5, 5),
        first_stride: int = 1,
        out_channels: int = 128,
    ) -> None:
        super().__init__()
        if len(channels) != len(layers):
            raise ValueError(f"channels {tuple(channels)} and layers {tuple(layers)} must name the same stages")
        self.stride = first_stride
        self.out_channels = out_channels * len(channels)
        self.stages, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, (width, count) in enumerate(zip(channels, layers, strict=True)):
            first = conv_norm_relu(in_channels, width, stride=first_stride if i == 0 else 2)
            self.stages.append(nn.Sequential(first, *(conv_norm_relu(width, width) for _ in range(count - 1))))
            up: list[nn.Module] = [conv_norm_relu(width, out_channels, kernel=1)]
            if i > 0:
                up.append(nn.Upsample(scale_factor=2**i, mode="bilinear", align_corners=False))
            self.ups.append(nn.Sequential(*up))
            in_channels = width

    def forward(self, bev: Tensor) -> Tensor:
        """[B,C,Y,X] -> [B,out_channels,Y/stride,X/stride]."""
        parts = []
        for stage, up in zip(self.stages, self.ups, strict=True):
            bev = stage(bev)
            parts.append(up(bev))
        return torch.cat(parts, dim=1)
