"""box_iou_bev against shapely's polygons."""

import math

import numpy as np
import pytest
import torch
from shapely.geometry import Polygon
from torch import Tensor

from perception.ops.box_iou_bev import box_iou_bev, box_overlap_bev


def polygon(box: Tensor) -> Polygon:
    x, y, length, width, yaw = box.double().tolist()
    along, across = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return Polygon([np.array([x, y]) + s * length / 2 * along + t * width / 2 * across for s, t in signs])


def twin(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and shared area of every pair, in float64."""
    polygons_a, polygons_b = [polygon(box) for box in a], [polygon(box) for box in b]
    area = torch.tensor([[p.intersection(q).area for q in polygons_b] for p in polygons_a], dtype=torch.float64)
    union = torch.tensor([[p.area + q.area for q in polygons_b] for p in polygons_a], dtype=torch.float64) - area
    return area / union, area


def crowded_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    low = torch.tensor([0, 0, 0.3, 0.3, -7], dtype=torch.float64)
    high = torch.tensor([12, 12, 12, 3, 7], dtype=torch.float64)
    return low + boxes * (high - low)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_equals_polygons(dtype: torch.dtype, tolerance: float) -> None:
    a, b = crowded_boxes(60, 1).to(dtype), crowded_boxes(70, 2).to(dtype)
    iou, area = twin(a, b)
    assert (iou > 0).double().mean() > 0.2
    torch.testing.assert_close(box_iou_bev(a, b).double(), iou, rtol=tolerance, atol=tolerance / 10)
    torch.testing.assert_close(box_overlap_bev(a, b).double(), area, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (51.2, -48.7), (1e4, 2e4)])
def test_a_box_with_itself(dtype: torch.dtype, centre: tuple[float, float]) -> None:
    yaws = torch.linspace(-math.pi, math.pi, 37, dtype=dtype)
    boxes = torch.stack([torch.tensor([*centre, 4.6, 1.9, yaw], dtype=dtype) for yaw in yaws.tolist()])
    one = torch.ones(len(boxes), dtype=dtype)
    torch.testing.assert_close(box_iou_bev(boxes, boxes).diagonal(), one, rtol=0, atol=1e-5)
    turned = boxes + torch.tensor([0, 0, 0, 0, math.pi], dtype=dtype)
    torch.testing.assert_close(box_iou_bev(boxes, turned).diagonal(), one, rtol=0, atol=1e-5)
    sideways = boxes[:, [0, 1, 3, 2, 4]] + torch.tensor([0, 0, 0, 0, math.pi / 2], dtype=dtype)
    torch.testing.assert_close(box_iou_bev(boxes, sideways).diagonal(), one, rtol=0, atol=1e-5)


def test_nearly_equal_boxes_lose_no_edge() -> None:
    generator = torch.Generator().manual_seed(3)
    box = torch.tensor([10.0, -3.0, 4.6, 1.9, 0.7]).repeat(2000, 1)
    noise = (torch.rand(2000, 5, generator=generator) - 0.5) * 10 ** torch.linspace(-9, -5, 2000)[:, None]
    assert box_iou_bev(box[:1], box + noise).min() > 0.9999


def test_known_values() -> None:
    square = torch.tensor([[0.0, 0, 2, 2, 0]])
    others = torch.tensor(
        [
            [0.0, 0, 2, 2, math.pi / 4],  # octagon
            [1, 0, 2, 2, 0],  # half
            [2, 0, 2, 2, 0],  # touching sides
            [2, 2, 2, 2, 0],  # touching corners
            [0, 0, 1, 1, 0.3],  # inside
            [0, 0, 100, 0.5, math.pi / 2],  # a bar through it
            [30, 0, 2, 2, 1],  # far away
        ]
    )
    octagon = 8 * (math.sqrt(2) - 1)
    expected = torch.tensor([octagon, 2, 0, 0, 1, 1, 0])
    torch.testing.assert_close(box_overlap_bev(square, others)[0], expected, rtol=1e-6, atol=1e-6)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = torch.tensor([[0.0, 0, 0, 2, 0.1], [0, 0, 3, 0, 0], [0, 0, 0, 0, 0], [0, 0, -2, 2, 0]])
    box = torch.tensor([[0.0, 0, 2, 2, 0]])
    for result in (box_iou_bev(flat, box), box_iou_bev(box, flat), box_iou_bev(flat, flat)):
        assert torch.equal(result, torch.zeros_like(result))


def test_empty_and_strided_input() -> None:
    boxes = crowded_boxes(6, 4)
    assert box_iou_bev(boxes[:0], boxes).shape == (0, 6)
    assert box_iou_bev(boxes, boxes[:0]).shape == (6, 0)
    wide = torch.zeros(6, 10, dtype=torch.float64)
    wide[:, ::2] = boxes
    assert torch.equal(box_iou_bev(wide[:, ::2], boxes.flip(0).flip(0)), box_iou_bev(boxes, boxes))


def test_registered_correctly() -> None:
    boxes = crowded_boxes(4, 5)
    for area in (False, True):
        torch.library.opcheck(torch.ops.perception.box_iou_bev.default, (boxes, boxes[:3], area))


def test_bad_input_is_refused() -> None:
    boxes = crowded_boxes(4, 5)
    with pytest.raises(ValueError, match="x y l w yaw"):
        box_iou_bev(boxes[:, :4], boxes)
    with pytest.raises(ValueError, match="one type"):
        box_iou_bev(boxes, boxes.float())
    with pytest.raises(ValueError, match="float32 or float64"):
        box_iou_bev(boxes.half(), boxes.half())
