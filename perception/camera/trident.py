"""TridentNet's backbone (Li et al., ICCV 2019, arXiv 1901.01892): a ResNet whose fourth stage (conv4) runs as three
branches that share every weight and differ in dilation alone, so that each sees its own range of object sizes.

Parameter names are torchvision's and mmdet's (`conv1`, `bn1`, `layer1.0.conv1`, ...), so their checkpoints
load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Blocks per stage; He et al., CVPR 2016, table 1.
STAGE_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def trident_conv(x: Tensor, conv: nn.Conv2d, dilations: Sequence[int]) -> Tensor:
    """One 3x3 convolution at several dilations: x [R*M,C,H,W], branch-major -> [R*M,C',H',W']."""
    parts = x.chunk(len(dilations))
    out = [F.conv2d(p, conv.weight, conv.bias, conv.stride, d, d) for p, d in zip(parts, dilations, strict=True)]
    return out[0] if len(out) == 1 else torch.cat(out)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and 34); the second is the one that dilates."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride)

    def forward(self, x: Tensor, dilations: Sequence[int] = (1,)) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(trident_conv(x, self.conv2, dilations))
        return F.relu(x + identity, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions (ResNet-50 and 101); the 3x3 strides and dilates, as in torchvision."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * 4)
        self.downsample = _downsample(in_channels, channels * 4, stride)

    def forward(self, x: Tensor, dilations: Sequence[int] = (1,)) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(trident_conv(x, self.conv2, dilations)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(x + identity, inplace=True)


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class TridentResNet(nn.Module):
    """ResNet to conv4 with the last blocks of conv4 as trident blocks.

    Args:
        depth: 18, 34, 50 or 101.
        dilations: one per branch. (1, 2, 3) is the paper's, (2,) TridentNet Fast's middle branch, (1,) a plain ResNet.
        trident_blocks: how many of conv4's last blocks have branches; None for all of them (as mmdet's).
        base_channels: width of the first stage (64 in the paper; fewer for small models).
    """

    def __init__(
        self,
        depth: int = 50,
        dilations: Sequence[int] = (1, 2, 3),
        trident_blocks: int | None = None,
        base_channels: int = 64,
    ) -> None:
        super().__init__()
        if depth not in STAGE_BLOCKS:
            raise ValueError(f"depth must be one of {sorted(STAGE_BLOCKS)}, got {depth}")
        block = BasicBlock if depth < 50 else Bottleneck
        blocks = STAGE_BLOCKS[depth][:3]
        self.dilations = tuple(dilations)
        self.plain_blocks = blocks[2] - (blocks[2] if trident_blocks is None else trident_blocks)
        if not 0 <= self.plain_blocks <= blocks[2]:
            raise ValueError(f"trident_blocks must be 0..{blocks[2]} for depth {depth}, got {trident_blocks}")
        self.conv1 = nn.Conv2d(3, base_channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        width = base_channels
        for stage, count in enumerate(blocks):
            channels, layers = base_channels * 2**stage, []
            for i in range(count):
                layers.append(block(width, channels, stride=2 if stage > 0 and i == 0 else 1))
                width = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.out_channels = (width // 2, width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def branches(self) -> int:
        return len(self.dilations)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [M,3,H,W], normalised -> conv3 [M,C3,H/8,W/8] and conv4 of every branch [R,M,C4,H/16,W/16]."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, padding=1)
        conv3: Tensor = self.layer2(self.layer1(x))  # type: ignore[operator]
        x = conv3
        for i, block in enumerate(self.layer3):  # type: ignore[arg-type]
            if i < self.plain_blocks:
                x = block(x)
                continue
            if i == self.plain_blocks:
                x = x.repeat(self.branches, 1, 1, 1)
            x = block(x, self.dilations)
        if self.plain_blocks == len(self.layer3):  # type: ignore[arg-type]
            x = x.repeat(self.branches, 1, 1, 1)
        return conv3, x.unflatten(0, (self.branches, -1))
