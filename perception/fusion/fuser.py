"""Two BEV maps into one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.fusion.decoder import conv_norm_relu


class ConcatFuser(nn.Module):
    """Concatenate the maps of the sensors, mix them by a convolution and weight the channels (BEVFusion's
    dynamic fusion, Liang et al., NeurIPS 2022, section 3.3).

    The convolution is kept as one per sensor, whose outputs add up to the same: a missing sensor adds nothing, not
    even the bias that tells it from one that sees nothing, and a fuser of both begins from that of one.

    Args:
        in_channels: channels of each sensor's map, by the sensor's name ("lidar", "camera").
        channels: channels of the fused map.
        kernel: size of the mixing convolution; 1 leaves the neighbourhood to the decoder.
    """

    def __init__(self, in_channels: Mapping[str, int], channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.out_channels = channels
        self.mix = nn.ModuleDict(
            {sensor: nn.Conv2d(c, channels, kernel, padding=kernel // 2) for sensor, c in in_channels.items()}
        )
        self.norm = nn.BatchNorm2d(channels)
        self.weight = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """maps: [B,C_i,Y,X] of each sensor; present: [B] bool of each sensor -> [B,C,Y,X]."""
        parts = []
        for sensor, conv in self.mix.items():
            part = conv(maps[sensor])
            parts.append(part * present[sensor][:, None, None, None].to(part.dtype))
        x = F.relu(self.norm(reduce(torch.add, parts)), inplace=True)
        return x * torch.sigmoid(self.weight(F.adaptive_avg_pool2d(x, 1)))


class GatedFuser(nn.Module):
    """Weigh the sensors against each other in every cell, knowing which of them says anything there.

    Each map is brought to the same channels; a softmax over the sensors, predicted from all of them and from where
    each map holds anything at all, says how much of each a cell takes (UniBEV's normalised weights, Wang et al., IV
    2024, are per channel; these are per cell). A missing sensor's weight is exactly zero and the others share the
    whole, so that the fused map keeps its scale.

    Args:
        in_channels: channels of each sensor's map, by the sensor's name ("lidar", "camera").
        channels: channels of the fused map.
    """

    def __init__(self, in_channels: Mapping[str, int], channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.project = nn.ModuleDict({sensor: conv_norm_relu(c, channels) for sensor, c in in_channels.items()})
        self.gate = nn.Conv2d(len(in_channels) * (channels + 1), len(in_channels), 3, padding=1)

    def forward(self, maps: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """maps: [B,C_i,Y,X] of each sensor; present: [B] bool of each sensor -> [B,C,Y,X]; zero without a sensor."""
        there = torch.stack([present[sensor] for sensor in self.project], dim=1)[:, :, None, None]  # [B,S,1,1]
        parts = [project(maps[sensor]) for sensor, project in self.project.items()]
        # Empty pillars and cells that no camera sees are exactly zero.
        seen = torch.stack([(maps[sensor] != 0).any(dim=1) for sensor in self.project], dim=1) & there
        x = torch.stack(parts, dim=1) * there[:, :, None]
        logits = self.gate(torch.cat((x.flatten(1, 2), seen.to(x.dtype)), dim=1)).float()
        weight = logits.masked_fill(~there, -torch.inf).softmax(dim=1).nan_to_num(0.0)
        return (x * weight[:, :, None].to(x.dtype)).sum(dim=1)


Fuser = ConcatFuser | GatedFuser
