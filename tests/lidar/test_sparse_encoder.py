"""Sparse convolutions against dense ones under a mask, and clouds of next to nothing."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sparse_encoder import ConvNorm, SparseEncoder
from perception.lidar.voxel_encoder import VoxelEncoder

pytestmark = pytest.mark.skipif(find_spec("spconv") is None, reason="spconv is not installed: pip install spconv-cu120")

GRID = (20, 12, 16)  # Z Y X


def encoder(blocks: int = 1) -> SparseEncoder:
    torch.manual_seed(0)
    net = SparseEncoder(5, GRID, channels=(4, 6, 8), blocks=blocks, output_channels=7)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            # Norms that do something, at inference too.
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return net


def voxels(count: int, samples: tuple[int, ...] = (0, 1)) -> tuple[Tensor, Tensor]:
    """features [V,5] and sorted coords [V,4], each cell once; `samples` of the batch have some."""
    generator = torch.Generator().manual_seed(count)
    depth, rows, columns = GRID
    cells = torch.randperm(len(samples) * depth * rows * columns, generator=generator)[:count].sort().values
    index = torch.unravel_index(cells, (len(samples), depth, rows, columns))
    coords = torch.stack((torch.tensor(samples)[index[0]], *index[1:]), dim=1).int()
    return torch.randn(count, 5, generator=generator), coords


class DenseTwin:
    """The encoder's convolutions as dense ones. `mask` [B,Z,Y,X] is where voxels are; elsewhere features are zero."""

    def __init__(self, net: SparseEncoder) -> None:
        self.net = net

    def __call__(self, features: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        net, (depth, rows, columns) = self.net, GRID
        where = tuple(coords.long().T)
        x = features.new_zeros(batch_size, depth + 1, rows, columns, 5).index_put(where, features)
        mask = torch.zeros(x.shape[:-1], dtype=torch.bool).index_put(where, torch.tensor(True))
        x = self.layer(net.stem, x, mask, stride=1, padding=1)
        for level, blocks in enumerate(net.levels):
            if level > 0:
                pad_z = 0 if level == len(net.downs) else 1
                mask = self.grown(mask, (3, 3, 3), (2, 2, 2), (pad_z, 1, 1))
                x = self.layer(net.downs[level - 1], x, mask, 2, (pad_z, 1, 1))
            for block in blocks:
                inner = self.layer(block.first, x, mask, 1, 1)
                x = self.layer(block.second, inner, mask, 1, 1, residual=x)
        mask = self.grown(mask, (3, 1, 1), (2, 1, 1), (0, 0, 0))
        x = self.layer(net.fold, x, mask, (2, 1, 1), 0)
        return x.permute(0, 4, 1, 2, 3).flatten(1, 2)

    @staticmethod
    def grown(mask: Tensor, kernel: tuple, stride: tuple, padding: tuple) -> Tensor:
        """Where a strided kernel sees a voxel."""
        return F.conv3d(mask[:, None].float(), torch.ones(1, 1, *kernel), None, stride, padding)[:, 0] > 0

    @staticmethod
    def layer(layer: ConvNorm, x: Tensor, mask: Tensor, stride, padding, residual: Tensor | None = None) -> Tensor:
        weight = layer.conv.weight.permute(0, 4, 1, 2, 3)
        rows = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, None, stride, padding).permute(0, 2, 3, 4, 1)[mask]
        norm = layer.norm
        rows = F.batch_norm(
            rows, norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias, norm.training, eps=1e-3
        )
        if residual is not None:
            rows = rows + residual[mask]
        out = rows.new_zeros(*mask.shape, rows.shape[1])
        return out.masked_scatter(mask[..., None].expand_as(out), rows.relu())


@pytest.mark.parametrize("samples", [(0, 1), (1,)], ids=["both", "an empty one"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_equals_dense_convolutions_under_a_mask(training: bool, samples: tuple[int, ...]) -> None:
    net = encoder(blocks=2).train(training)
    features, coords = voxels(300, samples=samples)
    dense = DenseTwin(copy.deepcopy(net))
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    bev, expected = net(ours, coords, 2), dense(theirs, coords, 2)
    assert bev.shape == (2, net.out_channels, 3, 4) and net.out_channels == 7 * 2 and net.stride == 4
    assert torch.allclose(bev, expected, atol=1e-4)
    pull = torch.randn(bev.shape, generator=torch.Generator().manual_seed(1))
    (bev * pull).sum().backward()
    (expected * pull).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4 * theirs.grad.abs().max())
    for (name, a), b in zip(net.named_parameters(), dense.net.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * b.grad.abs().max()), name


def test_highest_and_lowest_voxels_reach_the_map() -> None:
    """A voxel at every height and corner leaves a trace: no convolution skips the edge."""
    net = encoder().eval()
    empty = net(torch.zeros(0, 5), torch.zeros(0, 4, dtype=torch.int32), 1)
    assert not empty.any()
    for z in range(GRID[0]):
        for row, column in ((0, 0), (GRID[1] - 1, GRID[2] - 1)):
            coords = torch.tensor([[0, z, row, column]], dtype=torch.int32)
            assert net(torch.ones(1, 5), coords, 1).any(), (z, row, column)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_next_to_nothing_trains(count: int) -> None:
    net = encoder().train()
    features, coords = voxels(count)
    bev = net(features, coords, 2)
    assert bev.shape == (2, 14, 3, 4) and bev.isfinite().all() and (count > 0 or not bev.any())
    bev.sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(buffer.isfinite().all() for buffer in net.buffers())


def test_stays_in_float32_under_autocast_and_when_cast() -> None:
    net, (features, coords) = encoder().eval(), voxels(100)
    with torch.no_grad():
        expected = net(features, coords, 2)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(net(features.bfloat16(), coords, 2), net(features.bfloat16().float(), coords, 2))
        assert torch.equal(net.half()(features, coords, 2), expected)


def test_loads_weights_that_lost_their_versions_and_copies_are_independent() -> None:
    """mmdet3d makes spconv's own modules turn such weights round; an average of the weights deep-copies the network."""
    import perception.engine  # noqa: F401

    # isort: split
    import mmdet3d.models  # noqa: F401

    net, (features, coords) = encoder().eval(), voxels(100)
    twin = copy.deepcopy(net)
    expected = net(features, coords, 2)
    for parameter in twin.parameters():
        nn.init.constant_(parameter, 0.1)
    assert torch.equal(net(features, coords, 2), expected)
    twin.load_state_dict(dict(net.state_dict()))
    assert torch.equal(twin(features, coords, 2), expected)


def test_wrong_grids_are_named() -> None:
    for grid in ((16, 12, 16), (18, 12, 16), (4, 12, 16)):
        with pytest.raises(ValueError, match="Z must be 4 times an odd number"):
            SparseEncoder(5, grid, channels=(4, 6, 8))
    with pytest.raises(ValueError, match="multiples of 4"):
        SparseEncoder(5, (20, 12, 18), channels=(4, 6, 8))
    with pytest.raises(ValueError, match="two levels"):
        SparseEncoder(5, (20, 12, 16), channels=(4,))


def test_in_the_branch_it_lowers_the_resolution_and_does_not_export() -> None:
    grid = BEVGrid((-8.0, 8.0), (-6.0, 6.0), (-5.0, 5.0), (1.0, 1.0, 0.5))
    assert grid.shape == GRID
    branch = LidarBranch(VoxelEncoder(grid, (5,)), encoder()).eval()
    assert branch.out_grid.cell_m[:2] == (4.0, 4.0) and branch.out_channels == 14
    points = torch.rand(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([16.0, 12, 10, 255, 0.5])
    cloud = points - torch.tensor([8.0, 6, 5, 0, 0]), torch.arange(200) // 100, 2
    with torch.no_grad():
        bev = branch(*cloud)
        assert bev.shape == (2, 14, *branch.out_grid.shape[1:]) and bev.any()
        assert torch.equal(torch.compile(branch, backend="eager")(*cloud), bev)
        with pytest.raises(Exception, match="choose SST"):
            torch.export.export(branch, cloud)
