"""Joins conv3 and the branches of conv4 into one map per branch at stride 8, as FPN does (Lin et al., CVPR 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class TridentNeck(nn.Module):
    """Lateral 1x1 of conv3 plus the upsampled 1x1 of each conv4 branch, smoothed by a 3x3 that the branches share."""

    def __init__(self, in_channels: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(in_channels[0], channels, 1, bias=False)
        self.top = nn.Conv2d(in_channels[1], channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.out_channels = channels

    def forward(self, conv3: Tensor, conv4: Tensor) -> Tensor:
        """conv3 [M,C3,h,w], conv4 [R,M,C4,h/2,w/2] -> [R,M,C,h,w]."""
        branches = conv4.shape[0]
        top = F.interpolate(self.top(conv4.flatten(0, 1)), size=conv3.shape[-2:], mode="bilinear", align_corners=False)
        joined = top.unflatten(0, (branches, -1)) + self.lateral(conv3)
        out: Tensor = self.smooth(F.relu(self.norm(joined.flatten(0, 1)), inplace=True))
        return out.unflatten(0, (branches, -1))
