"""The voxel encoder against a loop over voxels."""

import torch
from torch import Tensor

from perception.geometry.grid import BEVGrid
from perception.lidar.voxel_encoder import VoxelEncoder

GRID = BEVGrid((-4.0, 4.0), (-4.0, 4.0), (-2.0, 2.0), (1.0, 1.0, 4.0))


def cloud(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 5, generator=generator) * torch.tensor([8, 8, 4, 255, 0.5])
    return points - torch.tensor([4, 4, 2, 0, 0.0])


def expected(encoder: VoxelEncoder, points: Tensor) -> dict[tuple[int, int], Tensor]:
    """One voxel at a time."""
    cells: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(points[:, :2].tolist()):
        cells.setdefault((int((y + 4) // 1), int((x + 4) // 1)), []).append(i)
    out = {}
    for (row, column), index in cells.items():
        p = points[index]
        centre = torch.tensor([column - 3.5, row - 3.5, 0.0])
        size = torch.tensor([1.0, 1.0, 4.0])
        scaled = torch.cat((p[:, :3] / torch.tensor([4.0, 4.0, 2.0]), p[:, 3:4] / 255, p[:, 4:] / 0.25 - 1), 1)
        x = torch.cat((scaled, (p[:, :3] - p[:, :3].mean(0)) / size, (p[:, :3] - centre) / size), 1)
        first, second = encoder.vfe_layers
        x = first(x).relu()
        x = second(torch.cat((x, x.amax(0).expand_as(x)), 1)).relu()
        out[row, column] = x.amax(0)
    return out


def test_equals_a_loop_over_voxels() -> None:
    encoder = VoxelEncoder(GRID, (8, 16)).eval()
    points = cloud(200)
    features, coords = encoder(points, torch.zeros(200, dtype=torch.long), 1)
    twin = expected(encoder, points)
    assert len(features) == len(twin)
    for feature, (_, _, row, column) in zip(features, coords.tolist(), strict=True):
        assert torch.allclose(feature, twin[row, column], atol=1e-5)


def test_points_outside_the_range_change_nothing() -> None:
    encoder = VoxelEncoder(GRID, (8, 16)).eval()
    points = cloud(50)
    far = torch.cat((points, torch.tensor([[9.0, 0, 0, 1, 0], [0, 0, 5, 1, 0]])))
    a, _ = encoder(points, torch.zeros(50, dtype=torch.long), 1)
    b, _ = encoder(far, torch.zeros(52, dtype=torch.long), 1)
    assert torch.allclose(a, b, atol=1e-6)


def test_empty_cloud_and_single_point_in_training() -> None:
    encoder = VoxelEncoder(GRID, (8, 16)).train()
    features, coords = encoder(cloud(0), torch.zeros(0, dtype=torch.long), 2)
    assert features.shape == (0, 16) and coords.shape == (0, 4)
    features, _ = encoder(cloud(1), torch.zeros(1, dtype=torch.long), 2)
    assert torch.isfinite(features).all()


def test_gradients_reach_the_weights() -> None:
    encoder = VoxelEncoder(GRID, (8, 16))
    encoder(cloud(100), torch.zeros(100, dtype=torch.long), 1)[0].sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
