"""Two BEV maps into one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.fusion.decoder import conv_norm_relu


class ConcatFuser(nn.Module):
    """Concatenate the maps of the sensors, mix them by a convolution and weight the channels (BEVFusion's
    dynamic fusion, Liang et al., NeurIPS 2022, section 3.3). A missing sensor's map is zero and its
    absence is an input.

    Args:
        in_channels: channels of each sensor's map, in order (LiDAR, camera).
        channels: channels of the fused map.
        kernel: size of the mixing convolution; 1 leaves the neighbourhood to the decoder.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.out_channels = channels
        self.mix = nn.Sequential(
            nn.Conv2d(sum(in_channels) + len(in_channels), channels, kernel, padding=kernel // 2, bias=False),
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


class GatedFuser(nn.Module):
    """Weigh the sensors against each other in every cell, knowing which of them says anything there.

    Each map is brought to the same channels; a softmax over the sensors, predicted from all of them and from where
    each map holds anything at all, says how much of each a cell takes (UniBEV's normalised weights, Wang et al., IV
    2024, are per channel; these are per cell). A missing sensor's weight is exactly zero and the others share the
    whole, so that the fused map keeps its scale.

    Args:
        in_channels: channels of each sensor's map, in order (LiDAR, camera).
        channels: channels of the fused map.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.project = nn.ModuleList(conv_norm_relu(c, channels) for c in in_channels)
        self.gate = nn.Conv2d(len(in_channels) * (channels + 1), len(in_channels), 3, padding=1)

    def forward(self, maps: list[Tensor], present: list[Tensor]) -> Tensor:
        """maps: [B,C_i,Y,X] of each sensor; present: [B] bool of each sensor -> [B,C,Y,X]; zero without a sensor."""
        there = torch.stack(present, dim=1)[:, :, None, None]  # [B,S,1,1]
        parts = [project(m) for project, m in zip(self.project, maps, strict=True)]
        # Empty pillars and cells that no camera sees are exactly zero.
        seen = torch.stack([(m != 0).any(dim=1) for m in maps], dim=1) & there
        x = torch.stack(parts, dim=1) * there[:, :, None]
        logits = self.gate(torch.cat((x.flatten(1, 2), seen.to(x.dtype)), dim=1)).float()
        weight = logits.masked_fill(~there, -torch.inf).softmax(dim=1).nan_to_num(0.0)
        return (x * weight[:, :, None].to(x.dtype)).sum(dim=1)


Fuser = ConcatFuser | GatedFuser
