"""TridentNet's backbone (Li et al., ICCV 2019, arXiv 1901.01892): a ResNet whose last blocks of conv4, and by option
conv5, run as three branches that share every weight and differ in dilation alone, so that each sees its own range of
object sizes.

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


def trident_conv(x: Tensor, conv: nn.Conv2d, dilations: Sequence[int], shared: bool = False) -> Tensor:
    """One 3x3 convolution at several dilations -> [R*M,C',H',W'], branch-major.

    x is [R*M,C,H,W], branch-major; or with `shared` [M,C,H,W], what every branch sees.
    """
    parts = (x,) * len(dilations) if shared or len(dilations) == 1 else x.chunk(len(dilations))
    out = [F.conv2d(p, conv.weight, conv.bias, conv.stride, d, d) for p, d in zip(parts, dilations, strict=True)]
    return out[0] if len(out) == 1 else torch.cat(out)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and 34); the first strides, the second dilates."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, style: str = "pytorch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride)

    def forward(self, x: Tensor, dilations: Sequence[int] = (1,), shared: bool = False) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(trident_conv(x, self.conv2, dilations, shared))
        return F.relu(_add(x, identity), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions (ResNet-50 and 101). The 3x3 dilates; it also strides in style "pytorch", where in
    style "caffe" the first 1x1 does."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, style: str = "pytorch") -> None:
        super().__init__()
        first, second = (stride, 1) if style == "caffe" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * 4)
        self.downsample = _downsample(in_channels, channels * 4, stride)

    def forward(self, x: Tensor, dilations: Sequence[int] = (1,), shared: bool = False) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(trident_conv(x, self.conv2, dilations, shared)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(_add(x, identity), inplace=True)


def _add(x: Tensor, identity: Tensor) -> Tensor:
    """x [R*M,...] plus the shortcut, [R*M,...] or the [M,...] that the branches share."""
    if len(x) == len(identity):
        return x + identity
    return (x.unflatten(0, (-1, len(identity))) + identity).flatten(0, 1)


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class TridentResNet(nn.Module):
    """ResNet to conv4, or conv5, with branches from one of conv4's blocks on.

    What comes before the first dilated convolution, its block's own 1x1 included, is computed once for all branches.

    Args:
        depth: 18, 34, 50 or 101.
        dilations: one per branch. (1, 2, 3) is the paper's, (2,) TridentNet Fast's middle branch, (1,) a plain ResNet.
        trident_blocks: how many of conv4's last blocks have branches; None for all of them (as mmdet's). The paper's
            has all but the first, which strides: 5 of ResNet-50, 22 of ResNet-101.
        base_channels: width of the first stage (64 in the paper; fewer for small models).
        conv5: run conv5, too; its blocks all have branches.
        style: "pytorch" (torchvision's), or "caffe" for weights that stride in a bottleneck's first convolution.

    Raises ValueError for another depth, style, or number of blocks.
    """

    def __init__(
        self,
        depth: int = 50,
        dilations: Sequence[int] = (1, 2, 3),
        trident_blocks: int | None = None,
        base_channels: int = 64,
        conv5: bool = False,
        style: str = "pytorch",
    ) -> None:
        super().__init__()
        if depth not in STAGE_BLOCKS:
            raise ValueError(f"depth must be one of {sorted(STAGE_BLOCKS)}, got {depth}")
        if style not in ("pytorch", "caffe"):
            raise ValueError(f"style of depth {depth} must be 'pytorch' or 'caffe', got {style!r}")
        block = BasicBlock if depth < 50 else Bottleneck
        blocks = STAGE_BLOCKS[depth][: 4 if conv5 else 3]
        self.dilations = tuple(dilations)
        self.plain_blocks = blocks[2] - (blocks[2] if trident_blocks is None else trident_blocks)
        if not 0 <= self.plain_blocks <= blocks[2]:
            raise ValueError(f"trident_blocks must be 0..{blocks[2]} for depth {depth}, got {trident_blocks}")
        self.conv1 = nn.Conv2d(3, base_channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        width, widths = base_channels, []
        for stage, count in enumerate(blocks):
            channels, layers = base_channels * 2**stage, []
            for i in range(count):
                layers.append(block(width, channels, 2 if stage > 0 and i == 0 else 1, style))
                width = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            widths.append(width)
        self.out_channels = tuple(widths[1:])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def branches(self) -> int:
        return len(self.dilations)

    def forward(self, images: Tensor, branches: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """Features of images [M,3,H,W], normalised; channels-last images are faster.

        `branches` are the ones to run, by their place in `dilations`; None runs all R of them.

        Returns conv3 [M,C3,H/8,W/8], conv4 of every branch [R,M,C4,H/16,W/16], and where the network has it conv5
        [R,M,C5,H/32,W/32].
        """
        dilations = self.dilations if branches is None else tuple(self.dilations[i] for i in branches)
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, padding=1)
        conv3: Tensor = self.layer2(self.layer1(x))  # type: ignore[operator]
        x, shared = conv3, True  # by all branches
        for i, block in enumerate(self.layer3):  # type: ignore[arg-type]
            if i < self.plain_blocks:
                x = block(x)
            else:
                x, shared = block(x, dilations, shared), False
        conv4 = x.repeat(len(dilations), 1, 1, 1) if shared else x
        out = [conv3, conv4.unflatten(0, (len(dilations), -1))]
        if hasattr(self, "layer4"):
            for block in self.layer4:  # type: ignore[union-attr]
                x, shared = block(x, dilations, shared), False
            out.append(x.unflatten(0, (len(dilations), -1)))
        return tuple(out)
