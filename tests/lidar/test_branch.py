"""The LiDAR branch on clouds that sensors should not give, in every precision; tall scenes against a dense twin."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sparse_encoder import SparseEncoder
from perception.lidar.sst import SST, EncoderLayer
from perception.lidar.voxel_encoder import VoxelEncoder

FLAT = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (0.5, 0.5, 8.0))
TALL = BEVGrid((-4.0, 4.0), (-4.0, 4.0), (-2.0, 2.0), (1.0, 1.0, 0.5))


def branch(grid: BEVGrid, window: tuple[int, int, int], blocks: int = 2, **options: Any) -> LidarBranch:
    torch.manual_seed(0)
    backbone = SST(32, 32, 4, 64, blocks, window, grid.shape, **options)
    return LidarBranch(VoxelEncoder(grid, (16, 32)), backbone)


def cloud(grid: BEVGrid, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(grid.range_min_m), torch.tensor(grid.range_max_m)
    xyz = low + torch.rand(count, 3, generator=generator) * (high - low) * 0.999
    rest = torch.rand(count, 2, generator=generator) * torch.tensor([255.0, 0.5])
    return torch.cat((xyz, rest), dim=1)


def hostile_cloud() -> Tensor:
    points = cloud(FLAT, 10_000)
    points[:100, :3] = torch.tensor([1e6, -1e6, 1e5])
    points[100:120, :3] *= 1e30
    points[200:300, 3] = 1e30
    points[300:310, 3] = torch.nan
    points[310:320, 3] = torch.inf
    points[320:330, 4] = 1.7e9  # a time of day in place of an age
    points[330:340, 4] = -0.1
    points[400:1400] = points[400].clone()
    return points


@pytest.mark.parametrize("cosine", [False, True], ids=["dot", "cosine"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("cast", [False, True], ids=["autocast", "cast"])
def test_hostile_points_give_no_inf_or_nan(cosine: bool, dtype: torch.dtype, cast: bool) -> None:
    net = branch(FLAT, (1, 8, 8), cosine=cosine, conv_dilations=(1,)).train()
    points, point_batch = hostile_cloud(), torch.zeros(10_000, dtype=torch.long)
    if cast:
        bev = net.to(dtype)(points, point_batch, 1)
    else:
        with torch.autocast("cpu", dtype):  # the parts, for the branch itself turns autocast off on the CPU
            features, coords = net.voxel_encoder(points, point_batch, 1)
            bev = net.backbone(features, coords, 1)
    bev.float().square().mean().backward()
    assert bev.isfinite().all() and bev.abs().max() > 0
    assert bev.dtype == dtype or not cast
    for name, value in (*net.named_buffers(), *((n, p.grad) for n, p in net.named_parameters())):
        assert value is not None and value.isfinite().all(), name
    with torch.no_grad():
        assert net.eval()(points, point_batch, 1).isfinite().all()


def test_cast_to_half_the_encoder_keeps_its_precision() -> None:
    net = branch(FLAT, (1, 8, 8), conv_dilations=()).eval()
    points, point_batch = cloud(FLAT, 2000), torch.zeros(2000, dtype=torch.long)
    with torch.no_grad():
        features, _ = net.voxel_encoder(points, point_batch, 1)
        full = net(points, point_batch, 1)
        net.half()
        assert torch.equal(net.voxel_encoder(points, point_batch, 1)[0], features)
        assert (net(points, point_batch, 1) - full).abs().max() < 0.02 * full.abs().max()


def slow_position(inside: list[int], window: tuple[int, int, int], channels: int) -> Tensor:
    """Position (z, y, x) in a window -> x, y, z embeddings, one number at a time."""
    length = channels // 3
    row = []
    for axis in (2, 1, 0):
        for i in range(length):
            angle = (inside[axis] - window[axis] / 2) / 10000.0 ** (2 * (i // 2) / length)
            row.append(math.cos(angle) if i % 2 else math.sin(angle))
    return torch.tensor(row + [0.0] * (channels - len(row)))


def slow_layer(
    layer: EncoderLayer, x: Tensor, coords: list[list[int]], window: tuple[int, int, int], shift: int
) -> Tensor:
    """Every token against every other, masked to those of its window."""
    shifts = [size // 2 if shift else size for size in window]
    moved = [[c + s for c, s in zip(zyx, shifts, strict=True)] for _, *zyx in coords]
    names = [(b, *(c // w for c, w in zip(m, window, strict=True))) for (b, *_), m in zip(coords, moved, strict=True)]
    position = torch.stack(
        [slow_position([c % w for c, w in zip(m, window, strict=True)], window, x.shape[1]) for m in moved]
    )
    mask = torch.tensor([[a == b for b in names] for a in names])
    attention = layer.win_attn.self_attn
    out, _ = F.multi_head_attention_forward(
        (x + position)[:, None], (x + position)[:, None], x[:, None], x.shape[1], layer.win_attn.heads,
        attention.in_proj_weight, attention.in_proj_bias, None, None, False, 0.0,
        attention.out_proj.weight, attention.out_proj.bias, attn_mask=~mask,
    )  # fmt: skip
    x = layer.norm1(x + out[:, 0])
    return layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))


def test_tall_scene_equals_dense_masked_attention() -> None:
    window = (4, 4, 4)
    net = branch(TALL, window, blocks=1, conv_dilations=()).eval()
    points, point_batch = cloud(TALL, 200), torch.arange(200) // 100
    with torch.no_grad():
        bev = net(points, point_batch, 2)
        x, coords = net.voxel_encoder(points, point_batch, 2)
        for i, layer in enumerate(net.backbone.block_list[0].encoder_list):
            x = slow_layer(layer, x, coords.tolist(), window, shift=i)
    assert TALL.shape == (8, 8, 8) and net.out_channels == 32 * 8
    expected = torch.zeros(2, 32, 8, 8, 8)  # b c z y x
    for token, (b, z, row, column) in zip(x, coords.tolist(), strict=True):
        expected[b, :, z, row, column] = token
    assert torch.allclose(bev, expected.view(2, 32 * 8, 8, 8), atol=1e-5)


def test_without_spconv_the_sparse_encoder_tells_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spconv.pytorch", None)
    with pytest.raises(ImportError, match="pip install spconv-cu120"):
        SparseEncoder(32, (40, 32, 32))
