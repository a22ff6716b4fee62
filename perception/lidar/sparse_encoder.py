"""Sparse 3D convolutions over small voxels: the middle encoder of SECOND (Yan et al., Sensors 2018, section 3.2.3) with
the residual blocks that CenterPoint (Yin et al., CVPR 2021) runs it with on nuScenes.

The alternative to SST, on spconv. spconv takes seconds to import, so it is imported when an encoder is built. What it
does is not seen by torch.export, so a network with this encoder does not export; one with SST does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from perception.geometry.precision import Float32Module
from perception.lidar.row_norm import row_norm
from perception.ops.sparse_to_bev import sparse_to_bev


def import_spconv() -> Any:
    """The module spconv.pytorch. Raises ImportError with the remedy where it is missing or does not load."""
    try:
        import spconv.pytorch
    except ImportError as error:
        raise ImportError(
            f"SparseEncoder needs spconv, which does not import ({error}): install it with `pip install spconv-cu120` "
            "(this project's extra [spconv]; it runs on the CPU too), or choose SST as the backbone"
        ) from error
    return spconv.pytorch


class SparseConv(nn.Module):
    """One of spconv's convolutions, with its weight [out,kz,ky,kx,in] as a parameter of ours.

    spconv's own module stays outside of the module tree: once mmdet3d is imported, such modules turn a weight round on
    loading unless the state dict carries a version, which a converted checkpoint has lost.
    """

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.outside = (convolution,)  # a tuple keeps it out of the module tree

    def forward(self, x: Any) -> Any:
        """SparseConvTensor -> SparseConvTensor."""
        from spconv.core import ConvAlgo

        (convolution,) = self.outside
        convolution.weight = self.weight
        convolution.training = self.training
        convolution.algo = ConvAlgo.Native if self.weight.device.type == "cpu" else ConvAlgo.MaskImplicitGemm
        return convolution(x)


class ConvNorm(nn.Module):
    """Sparse convolution, batch norm over the voxels, ReLU."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.conv = SparseConv(convolution)
        self.norm = nn.BatchNorm1d(convolution.out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Any, residual: Tensor | None = None) -> Any:
        """SparseConvTensor -> SparseConvTensor; `residual` [V,C] is added before the ReLU."""
        x = self.conv(x)
        features = row_norm(self.norm, x.features)
        if residual is not None:
            features = features + residual
        return x.replace_feature(features.relu_())


class ResidualBlock(nn.Module):
    """Two submanifold convolutions and a shortcut; occupied voxels stay the ones that they are."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(first), ConvNorm(second)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x), residual=x.features)


class SparseEncoder(Float32Module):
    """Voxels to a BEV map: levels of submanifold convolutions, between them a strided one that halves every axis; then
    height is folded into the channels.

    The map's stride is `stride` = 2 ** (levels - 1) voxels along y and x. Along z the grid gets one more, empty cell
    above, as SECOND's does, so that 40 cells become 41, 21, 11, 5 and in the end 2.

    It computes in float32, under autocast and when the network is cast too: on a GPU, spconv would turn bfloat16 into
    float16. A cloud without any voxel gives a map of zeros.

    Args:
        in_channels: channels of the voxels.
        grid: voxels (Z, Y, X); Y and X are multiples of the stride, Z is an odd multiple of it, from 3 on.
        channels: of each level; at least two levels.
        blocks: residual blocks of each level.
        output_channels: of each cell of height that is left at the end.

    Raises:
        ImportError: spconv is not installed.
        ValueError: the grid does not go with that many levels.
    """

    def __init__(
        self,
        in_channels: int,
        grid: tuple[int, int, int],
        channels: Sequence[int] = (16, 32, 64, 128),
        blocks: int = 2,
        output_channels: int = 128,
    ) -> None:
        super().__init__()
        spconv = import_spconv()
        self.grid = (int(grid[0]), int(grid[1]), int(grid[2]))
        if len(channels) < 2:
            raise ValueError(f"channels {tuple(channels)}: the encoder needs at least two levels")
        self.stride = 2 ** (len(channels) - 1)
        height, rest = divmod(self.grid[0], self.stride)
        if rest or height % 2 == 0 or height < 3:
            # At any other height the last two convolutions would leave the highest voxels out.
            raise ValueError(
                f"grid {self.grid} (Z,Y,X): with {len(channels)} levels, Z must be {self.stride} times an odd number "
                "of at least 3"
            )
        if self.grid[1] % self.stride or self.grid[2] % self.stride:
            raise ValueError(f"grid {self.grid} (Z,Y,X): rows and columns must be multiples of {self.stride}")
        self.depth = (height - 1) // 2
        self.out_channels = output_channels * self.depth

        def submanifold(c_in: int, c_out: int, level: int) -> Any:
            # Which voxels are neighbours is found once per level: convolutions of the same key share it.
            return spconv.SubMConv3d(c_in, c_out, 3, padding=1, bias=False, indice_key=f"level{level}")

        self.stem = ConvNorm(submanifold(in_channels, channels[0], 0))
        # SECOND's last one does not pad the height.
        pad_z = [1] * (len(channels) - 2) + [0]
        self.downs = nn.ModuleList(
            ConvNorm(spconv.SparseConv3d(c_in, c_out, 3, 2, (pad, 1, 1), bias=False))
            for (c_in, c_out), pad in zip(pairwise(channels), pad_z, strict=True)
        )
        self.levels = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(submanifold(c, c, level), submanifold(c, c, level)) for _ in range(blocks)))
            for level, c in enumerate(channels)
        )
        self.fold = ConvNorm(spconv.SparseConv3d(channels[-1], output_channels, (3, 1, 1), (2, 1, 1), bias=False))

    @torch.compiler.disable
    def forward(self, features: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        """features [V,in_channels], coords [V,4] int32 (b,z,y,x) -> BEV [B,out_channels,Y/stride,X/stride] float32;
        channel c of height cell z is c * depth + z.

        Raises NotImplementedError under torch.export.
        """
        if torch.compiler.is_exporting():
            raise NotImplementedError(
                "SparseEncoder runs on spconv, which torch.export cannot see into: choose SST for a network that is to "
                "be exported"
            )
        rows, columns = self.grid[1] // self.stride, self.grid[2] // self.stride
        if coords.shape[0] == 0:
            # Tied to every parameter, because data-parallel training waits for each one's gradient.
            nothing = torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0
            return features.new_zeros(batch_size, self.out_channels, rows, columns, dtype=torch.float32) + nothing
        with torch.autocast(features.device.type, enabled=False):
            shape = [self.grid[0] + 1, self.grid[1], self.grid[2]]
            x = self.stem(import_spconv().SparseConvTensor(features.float(), coords, shape, batch_size))
            x = self.levels[0](x)
            for down, level in zip(self.downs, self.levels[1:], strict=True):
                x = level(down(x))
            x = self.fold(x)
            return sparse_to_bev(x.features, x.indices, batch_size, (self.depth, rows, columns))
