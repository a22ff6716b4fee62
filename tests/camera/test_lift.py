"""The lift: where features land, what a missing camera leaves, and the depth targets against a loop."""

import torch
from torch import Tensor

from perception.camera.lift import ScaleAwareLift
from perception.geometry.grid import BEVGrid

GRID = BEVGrid((-20.0, 20.0), (-20.0, 20.0), (-5.0, 5.0), (1.0, 1.0, 10.0))


def forward_camera(focal_px: float = 40.0, width: int = 64, height: int = 32) -> Tensor:
    """Looks along +y of the LiDAR from its origin."""
    intrinsics = torch.tensor([[focal_px, 0, width / 2, 0], [0, focal_px, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    camera_from_lidar = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return intrinsics @ camera_from_lidar


def test_a_sure_depth_puts_the_feature_at_that_distance() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16, stride=8, branches=1).eval()
    with torch.no_grad():
        lift.depth_net[3].weight.zero_()
        lift.depth_net[3].bias.fill_(-100.0)
        lift.depth_net[3].bias[9] = 100.0  # 10.5 m
        features = torch.rand(1, 1, 1, 4, 4, 8) + 0.5
        bev, _ = lift(features, forward_camera()[None, None], torch.ones(1, 1, dtype=torch.bool))
    occupied = bev[0].abs().sum(0).nonzero()
    assert len(occupied) and (occupied[:, 0] == 30).all()  # row of y = 10.5 m
    context = lift.feature_net(features[0, 0]).sum(dim=(0, 2, 3))
    assert torch.allclose(bev.sum(dim=(0, 2, 3)), context, atol=1e-4)


def test_missing_camera_contributes_nothing() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16).eval()
    features = torch.randn(3, 1, 2, 4, 4, 8)
    matrices = forward_camera().expand(1, 2, 4, 4)
    with torch.no_grad():
        one, _ = lift(features[:, :, :1], matrices[:, :1], torch.ones(1, 1, dtype=torch.bool))
        masked, _ = lift(features, matrices, torch.tensor([[True, False]]))
    assert torch.allclose(one, masked, atol=1e-6)


def test_measured_depth_equals_a_loop() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16)
    generator = torch.Generator().manual_seed(0)
    points = torch.zeros(300, 5)
    points[:, :3] = (torch.rand(300, 3, generator=generator) - 0.5) * torch.tensor([30.0, 40.0, 6.0])
    matrix = forward_camera()
    points[200:, 4] = 0.05  # of an older sweep
    measured = lift.measure(points, torch.zeros(300, dtype=torch.long), matrix[None, None], (32, 64))
    got, point = measured.bin[0, 0], measured.point[0, 0]
    expected = torch.full((4, 8), -1)
    for x, y, z in points[:200, :3].tolist():
        u, v, d, _ = (matrix @ torch.tensor([x, y, z, 1.0])).tolist()
        if not 1.0 <= d < 17.0:
            continue
        column, row = int((u / d + 0.5) // 8), int((v / d + 0.5) // 8)
        if 0 <= column < 8 and 0 <= row < 4:
            old = int(expected[row, column])
            expected[row, column] = int(d - 1.0) if old < 0 else min(old, int(d - 1.0))
    assert torch.equal(got, expected)
    assert torch.equal(point >= 0, got >= 0)
    row, column = (got >= 0).nonzero().unbind(1)
    nearest = torch.cat((points[point[row, column], :3], torch.ones(len(row), 1)), dim=1) @ matrix.T
    assert torch.equal((nearest[:, 2] - 1.0).floor().long(), got[row, column])
    assert torch.equal(((nearest[:, 0] / nearest[:, 2] + 0.5) / 8).floor().long(), column)


def test_measured_depth_takes_each_point_through_the_cameras_of_its_own_sample() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16)
    points = torch.tensor([[0.0, 5.5, 0.1, 0, 0], [0.0, 9.5, 0.1, 0, 0]])
    got = lift.measure(points, torch.tensor([1, 0]), forward_camera().expand(2, 3, 4, 4), (32, 64)).bin
    assert got[0].max() == 8 and got[1].max() == 4
    assert ((got >= 0).sum(dim=(2, 3)) == 1).all()


def test_a_measured_depth_draws_the_feature_to_it() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16, branches=1).eval()
    features, camera = torch.ones(1, 1, 1, 4, 4, 8), torch.ones(1, 1, dtype=torch.bool)
    measured = torch.full((1, 1, 4, 8), -1)
    with torch.no_grad():
        without, logits = lift(features, forward_camera()[None, None], camera)
        unknown, _ = lift(features, forward_camera()[None, None], camera, measured)
        known, same = lift(features, forward_camera()[None, None], camera, measured + 10)
    assert torch.equal(without, unknown) and torch.equal(logits, same)
    row = known[0].abs().sum(dim=(0, 2))
    assert row.argmax() == 30 and row[29:31].sum() > 0.8 * row.sum()  # bin 9 holds 10 m to 11 m: row 30


def test_far_bins_start_with_the_least_dilated_branch() -> None:
    weights = ScaleAwareLift(4, 6, GRID).branch_logits.softmax(0)
    assert weights[:, 0].argmax() == 2 and weights[:, -1].argmax() == 0
