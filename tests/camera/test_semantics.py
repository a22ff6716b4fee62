"""The labels of feature cells against a loop, the loss against its formula, and painted channels in the map."""

import math

import torch
from test_lift import GRID, forward_camera

from perception.camera.lift import MeasuredCells, ScaleAwareLift
from perception.camera.semantics import SemanticHead, cell_labels


def test_labels_are_the_class_of_the_box_that_holds_the_cells_point() -> None:
    points = torch.tensor([[5.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0], [5.0, 0, 0, 0, 0], [0, 7.0, 0, 0, 0]])
    point = torch.tensor([[[[0, 1], [-1, 0]]], [[[2, 3], [3, -1]]]])  # [2,1,2,2]
    boxes = torch.zeros(3, 9)
    boxes[:, 3:6] = 2.0
    boxes[:, :2] = torch.tensor([[5.0, 0.5], [9.0, -0.5], [0.0, 7.5]])
    labels, sample = torch.tensor([4, 1, 2]), torch.tensor([0, 0, 1])
    got = cell_labels(MeasuredCells(point, point), points, boxes, labels, sample, 6)
    # In the second sample the point at x = 5 lies in no box: the one there belongs to the first sample.
    assert got.tolist() == [[[[4, 1], [-1, 4]]], [[[6, 2], [2, -1]]]]


def test_labels_without_boxes_are_background() -> None:
    point = torch.tensor([[[[0, -1]]]])
    none = torch.zeros(0, dtype=torch.long)
    got = cell_labels(MeasuredCells(point, point), torch.zeros(1, 5), torch.zeros(0, 9), none, none, 6)
    assert got.tolist() == [[[[6, -1]]]]


def test_loss_equals_the_formula_and_ignores_unknown_cells_and_missing_cameras() -> None:
    head = SemanticHead(3, 2, background_weight=0.25)
    logits = torch.randn(1, 2, 3, 1, 3)
    labels = torch.tensor([[[[0, 2, -1]], [[1, 1, 1]]]])
    loss = head.loss(logits, labels, torch.tensor([[True, False]]))
    p = logits[0, 0].softmax(0)[:, 0]
    expected = (-math.log(p[0, 0]) - 0.25 * math.log(p[2, 1])) / 1.25
    assert abs(float(loss) - expected) < 1e-5
    assert head.loss(logits, labels - 9, torch.ones(1, 2, dtype=torch.bool)) == 0


def test_a_class_counts_by_the_root_of_its_cells() -> None:
    head = SemanticHead(3, 2, background_weight=0.25)
    logits = torch.randn(1, 1, 3, 1, 5)
    loss = head.loss(logits, torch.tensor([[[[0, 0, 0, 0, 1]]]]), torch.ones(1, 1, dtype=torch.bool))
    nll = -logits[0, 0].log_softmax(0)[:, 0]
    expected = (0.5 * nll[0, :4].sum() + nll[1, 4]) / (0.5 * 4 + 1)
    assert torch.isclose(loss, expected)


def test_painted_channels_arrive_where_the_depth_says() -> None:
    lift = ScaleAwareLift(4, 6, GRID, (1.0, 17.0), 16).eval()
    painted = torch.rand(1, 1, 2, 4, 8)
    measured = torch.full((1, 1, 4, 8), 9)
    with torch.no_grad():
        lift.measured_gain.fill_(100.0)
        bev, _ = lift(
            torch.randn(3, 1, 1, 4, 4, 8), forward_camera()[None, None], torch.ones(1, 1).bool(), measured, painted
        )
    assert bev.shape[1] == 8
    assert torch.allclose(bev[0, 6:, 30].sum(dim=1), painted.sum(dim=(0, 1, 3, 4)), atol=1e-3)  # y = 10.5 m
