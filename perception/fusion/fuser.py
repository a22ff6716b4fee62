"""Two BEV maps into one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConcatFuser(nn.Module):
    """Concatenate the maps of the sensors, mix them by a 3x3 convolution and weight the channels (BEVFusion's
    dynamic fusion, Liang et al., NeurIPS 2022, section 3.3). A missing sensor's map is zero and its
    absence is an input.

    Args:
        in_channels: channels of each sensor's map, in order (LiDAR, camera).
        channels: channels of the fused map.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.mix = nn.Sequential(
            nn.Conv2d(sum(in_channels) + len(in_channels), channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.weight = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: list[Tensor], present: list[Tensor]) -> Tensor:
        """maps: [B,C_i,Y,X] of each sensor; present: [B] bool of each sensor -> [B,C,Y,X]."""
        flags = [p[:, None, None, None].to(m.dtype) for m, p in zip(maps, present, strict=True)]
        planes = [f.expand(-1, 1, *m.shape[2:]) for f, m in zip(flags, maps, strict=True)]
        x = self.mix(torch.cat([m * f for m, f in zip(maps, flags, strict=True)] + planes, dim=1))
        return x * torch.sigmoid(self.weight(F.adaptive_avg_pool2d(x, 1)))
