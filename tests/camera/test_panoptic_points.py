"""Point labels of a frame's own pictures."""

import torch

from perception.camera.lift import MeasuredCells
from perception.camera.panoptic_points import frame_points


def test_points_are_told_apart_by_boxes_and_height() -> None:
    boxes = torch.tensor(
        [[10.0, 0, -1, 4, 2, 1.6, 0, 0, 0], [5.0, 5, -1, 1, 1, 1.6, 0, 0, 0], [10.0, 0, -1, 4, 2, 1.6, 0, 0, 0]]
    )
    labels, sample = torch.tensor([0, 7, 3]), torch.tensor([0, 0, 1])
    points = torch.tensor(
        [[10.0, 0, -1], [6, 0, -1.84], [30, 0, -1.84], [20, 0, 1.5], [10, 1.3, -1], [20, 0, -0.9], [5, 5, -1]]
    )
    points = torch.cat((points, torch.zeros(7, 2)), dim=1)
    cells = torch.full((2, 2, 2, 4), -1)  # two samples with two cameras
    cells[0, 0] = torch.tensor([[0, 1, 2, 3], [4, 5, -1, 0]])
    cells[0, 1, 1, 3] = 6
    cells[1, 0, 0, 0] = 0
    found = frame_points(MeasuredCells(cells.clamp(max=0), cells), points, boxes, labels, sample, things=10)
    # The car twice, the ground nearby; far away ground, what is beside the car, and what is low are left out.
    assert found[0].tolist() == [[0, 0, 0, 0], [0, 2, 10, 1], [0, 6, 11, 2], [2, 6, 0, 0]]
    assert found[1].tolist() == [[2, 6, 7, 0]]
    assert found[2].tolist() == [[0, 0, 3, 0]]  # the other sample's box
    assert found[3].shape == (0, 4)


def test_a_frame_without_boxes_or_points_has_no_things() -> None:
    cells = torch.full((1, 1, 2, 2), -1)
    none = torch.zeros(0, dtype=torch.long)
    assert frame_points(MeasuredCells(cells, cells), torch.zeros(0, 5), torch.zeros(0, 9), none, none, 10)[0].shape == (
        0,
        4,
    )
