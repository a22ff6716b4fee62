"""points_in_boxes against a loop in box coordinates, and against the devkit on the real key frame."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from perception.ops.points_in_boxes import points_in_boxes, points_in_boxes_all


def twin(points: Tensor, boxes: Tensor) -> Tensor:
    """[P,K]: each point turned into each box's own frame."""
    columns = []
    for x, y, z, length, width, height, yaw in boxes.double().tolist():
        turn = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]], dtype=torch.float64)
        local = points.double() - torch.tensor([x, y, z], dtype=torch.float64)
        planar = local[:, :2] @ turn
        inside = (planar.abs() <= torch.tensor([length / 2, width / 2])).all(1) & (local[:, 2].abs() <= height / 2)
        columns.append(inside)
    return torch.stack(columns, dim=1) if columns else torch.zeros(len(points), 0, dtype=torch.bool)


def first_of(inside: Tensor) -> Tensor:
    if inside.shape[1] == 0:
        return torch.full((inside.shape[0],), -1)
    return torch.where(inside.any(1), inside.int().argmax(1), -1)


def random_scene(points: int, boxes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(points + boxes)
    cloud = torch.rand(points, 3, generator=generator, dtype=torch.float64) * torch.tensor([40, 40, 6])
    rows = torch.rand(boxes, 7, generator=generator, dtype=torch.float64) * torch.tensor([40, 40, 6, 9, 3, 3, 12])
    return cloud, rows


@pytest.mark.parametrize(("points", "boxes"), [(1000, 37), (257, 5), (1, 1), (0, 4), (300, 0), (0, 0)])
def test_equals_twin(points: int, boxes: int) -> None:
    cloud, rows = random_scene(points, boxes)
    expected = twin(cloud, rows)
    assert torch.equal(points_in_boxes_all(cloud, rows), expected)
    assert torch.equal(points_in_boxes(cloud, rows), first_of(expected))
    # No random point is within float32's rounding of a surface.
    assert torch.equal(points_in_boxes_all(cloud.float(), rows.float()), expected)
    assert torch.equal(points_in_boxes(cloud.float(), rows.float()), first_of(expected))


def test_the_surface_belongs_to_the_box() -> None:
    box = torch.tensor([[10.0, 20, 1, 4, 2, 2, 0]])
    on = torch.tensor([[12.0, 20, 1], [8, 21, 0], [10, 19, 2], [12, 21, 2]])
    assert points_in_boxes(on, box).tolist() == [0, 0, 0, 0]
    off = on + (on - box[:, :3]) * 1e-5
    assert points_in_boxes(off, box).tolist() == [-1, -1, -1, -1]


def test_the_first_box_wins_and_nan_is_nowhere() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 4, 4, 4, 1], [0, 0, 0, 9, 9, 9, 2]])
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [9, 0, 0], [math.nan, 0, 0], [0, 0, math.inf]])
    assert points_in_boxes(points, boxes).tolist() == [0, 1, 2, -1, -1, -1]
    assert points_in_boxes_all(points, boxes)[0].tolist() == [True, True, True]


def test_strided_input() -> None:
    cloud, rows = random_scene(500, 9)
    sweeps = torch.cat((cloud, torch.ones(500, 2)), dim=1)
    assert torch.equal(points_in_boxes(sweeps[:, :3], rows), points_in_boxes(cloud, rows))


def test_equals_the_devkit_on_real_points(one_frame_root: Path) -> None:
    from nuscenes.utils.data_classes import Box, LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box
    from pyquaternion import Quaternion

    file = next(one_frame_root.glob("samples/LIDAR_TOP/*.pcd.bin"))
    cloud = LidarPointCloud.from_file(str(file)).points[:3].astype(np.float64)
    generator = np.random.default_rng(0)
    centres = cloud[:, generator.choice(cloud.shape[1], 60, replace=False)].T
    yaws = generator.uniform(-math.pi, math.pi, 60)
    rows = [(*c, 4.7, 2.0, 1.8, yaw) for c, yaw in zip(centres, yaws, strict=True)]
    inside = points_in_boxes_all(torch.from_numpy(cloud.T.copy()), torch.tensor(rows, dtype=torch.float64))
    for k, row in enumerate(rows):
        box = Box(row[:3], (row[4], row[3], row[5]), Quaternion(axis=(0, 0, 1), radians=row[6]))
        assert np.array_equal(inside[:, k].numpy(), points_in_box(box, cloud))


def test_registered_correctly() -> None:
    cloud, rows = random_scene(30, 4)
    torch.library.opcheck(torch.ops.perception.points_in_boxes.default, (cloud, rows))
    torch.library.opcheck(torch.ops.perception.points_in_boxes_all.default, (cloud, rows))


def test_bad_input_is_refused() -> None:
    cloud, rows = random_scene(30, 4)
    with pytest.raises(ValueError, match=r"\[P,3\]"):
        points_in_boxes(rows, rows)
    with pytest.raises(ValueError, match=r"\[K,7\]"):
        points_in_boxes(cloud, cloud)
    with pytest.raises(ValueError, match="one type"):
        points_in_boxes_all(cloud, rows.float())
