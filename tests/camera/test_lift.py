"""The lift: where features land, what a missing camera leaves, and the depth targets against a loop."""

import torch
from torch import Tensor

from perception.camera.lift import MeasuredCells, ScaleAwareLift
from perception.geometry.grid import BEVGrid
from perception.ops.bev_pool import bev_pool, pool_index

ONE_BRANCH = ((0.0, 1e8),)
GRID = BEVGrid((-20.0, 20.0), (-20.0, 20.0), (-5.0, 5.0), (1.0, 1.0, 10.0))


def forward_camera(focal_px: float = 40.0, width: int = 64, height: int = 32) -> Tensor:
    """Looks along +y of the LiDAR from its origin."""
    intrinsics = torch.tensor([[focal_px, 0, width / 2, 0], [0, focal_px, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    camera_from_lidar = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return intrinsics @ camera_from_lidar


def test_a_sure_depth_puts_the_feature_at_that_distance() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16, valid_ranges_px=ONE_BRANCH).eval()
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
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16, valid_ranges_px=ONE_BRANCH).eval()
    features, camera = torch.ones(1, 1, 1, 4, 4, 8), torch.ones(1, 1, dtype=torch.bool)
    measured = torch.full((1, 1, 4, 8), -1)
    with torch.no_grad():
        without, logits = lift(features, forward_camera()[None, None], camera)
        unknown, _ = lift(features, forward_camera()[None, None], camera, measured)
        known, same = lift(features, forward_camera()[None, None], camera, measured + 10)
    assert torch.equal(without, unknown) and torch.equal(logits, same)
    row = known[0].abs().sum(dim=(0, 2))
    assert row.argmax() == 30 and row[29:31].sum() > 0.8 * row.sum()  # bin 9 holds 10 m to 11 m: row 30


def test_measuring_and_pooling_do_not_lose_precision_under_autocast() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16).eval()
    points = torch.zeros(500, 5)
    points[:, :3] = (torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 30.0
    matrix, own = forward_camera()[None, None], torch.zeros(500, dtype=torch.long)
    plain = lift.measure(points, own, matrix, (32, 64)), lift.frustum_cells(matrix, torch.Size((4, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        half = lift.measure(points, own, matrix, (32, 64)), lift.frustum_cells(matrix, torch.Size((4, 8)))
    assert torch.equal(plain[0].bin, half[0].bin) and torch.equal(plain[0].point, half[0].point)
    assert torch.equal(plain[1], half[1])


def test_branches_are_pooled_by_their_weights() -> None:
    """Against the sum of one pooling per branch, each with its own index."""
    torch.manual_seed(0)
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16).eval()
    features, mask = torch.randn(3, 2, 2, 4, 4, 8), torch.ones(2, 2, dtype=torch.bool)
    matrices = torch.stack((forward_camera(), forward_camera(80.0))).expand(2, 2, 4, 4)
    with torch.no_grad():
        assert lift.choice is not None
        lift.choice.learned.normal_()
        got, logits = lift(features, matrices, mask)
        weights = lift.choice(torch.tensor([[40.0, 80.0]] * 2))
        index = pool_index(lift.frustum_cells(matrices, torch.Size((4, 8))).flatten(0, 1), 2 * 40 * 40)
        expected = torch.zeros(2 * 40 * 40, 6)
        for r in range(3):
            context = lift.feature_net(features[r].flatten(0, 1)).permute(0, 2, 3, 1)
            depth = logits.softmax(2) * weights[r, :, :, :, None, None]
            expected += bev_pool(context, depth.flatten(0, 1), index, 2 * 40 * 40)
    torch.testing.assert_close(got, expected.view(2, 40, 40, 6).permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_a_lift_that_knows_no_scale_takes_the_mean_of_the_branches() -> None:
    torch.manual_seed(0)
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16, scale_aware=False).eval()
    features, mask = torch.randn(3, 1, 1, 4, 4, 8), torch.ones(1, 1, dtype=torch.bool)
    with torch.no_grad():
        three, _ = lift(features, forward_camera()[None, None], mask)
        one, _ = lift(features.mean(0, keepdim=True), forward_camera()[None, None], mask)
    torch.testing.assert_close(three, one)


def test_depth_targets_are_the_lidars_then_the_boxes() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16)
    measured = MeasuredCells(torch.tensor([[[[3, -1, -1, -1, -1]]]]), torch.zeros(1, 1, 1, 5, dtype=torch.long))
    face = torch.tensor([[[[9.5, 9.5, torch.inf, 0.5, 16.999]]]])
    assert lift.depth_targets(measured, face).tolist() == [[[[3, 8, -1, -1, 15]]]]
    assert (lift.depth_targets(measured, torch.full_like(face, 17.0)) == measured.bin).all()


def test_the_ground_is_where_the_rays_of_its_points_say() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16)
    matrix = forward_camera()
    bins = lift.ground_bins(matrix[None, None], (4, 8), -1.5)[0, 0]
    # Of the rows' centres, 3.5 and 11.5 px look up, 19.5 and 27.5 px down: to 40 px * 1.5 m / (v - 16 px).
    assert not bins[:, :2].any()
    for row, depth in ((2, 60.0 / 3.5), (3, 60.0 / 11.5)):
        place = depth - 1.5  # in bins of 1 m, the first centre at 1.5 m
        expected = torch.zeros(16)
        for bin in range(16):
            expected[bin] = max(0.0, 1.0 - abs(place - bin))
        assert torch.allclose(bins[:, row], expected[:, None].expand(16, 8), atol=1e-5)
    # A point of the ground, through the matrix to its pixel, is as deep as its cell says.
    u, v, depth, _ = (matrix @ torch.tensor([2.0, 60.0 / 11.5, -1.5, 1.0])).tolist()
    shares = bins[:, int((v / depth + 0.5) // 8), int((u / depth + 0.5) // 8)]
    assert torch.isclose((shares * lift.depths_m).sum(), torch.tensor(depth), atol=1e-4)


def test_no_ray_along_the_ground_spoils_the_depths() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16)
    level = forward_camera(height=39)  # its middle is the centre of the third row of cells: a horizontal ray
    assert torch.isfinite(lift.ground_bins(level[None, None], (5, 8), 0.0)).all()  # the camera's own height
