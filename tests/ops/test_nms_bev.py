"""nms_bev and circle_nms against greedy loops over a full table of overlaps, and against mmdet3d's circle NMS."""

import math

import pytest
import torch
from torch import Tensor

from perception.ops.box_iou_bev import box_iou_bev
from perception.ops.nms_bev import circle_nms, nms_bev


def greedy(suppressed_by: Tensor, scores: Tensor) -> Tensor:
    """Kept indices, given the table of who suppresses whom."""
    kept: list[int] = []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        if not any(suppressed_by[i, j] for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def random_boxes(count: int, area_m: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 5, generator=generator) * torch.tensor([area_m, area_m, 4, 1.5, 2 * math.pi])
    boxes += torch.tensor([0, 0, 1, 0.5, -math.pi])
    return boxes, torch.rand(count, generator=generator)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 1.0])
def test_equals_greedy_loop(count: int, threshold: float) -> None:
    boxes, scores = random_boxes(count, 15, seed=count)
    expected = greedy(box_iou_bev(boxes, boxes) > threshold, scores)
    assert torch.equal(nms_bev(boxes, scores, threshold), expected)
    assert torch.equal(nms_bev(boxes.double(), scores.double(), threshold), expected)


def test_equal_scores_keep_the_lower_index_and_nan_comes_last() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 2, 0], [0, 0, 4, 2, 0], [9, 0, 4, 2, 0], [9, 0, 4, 2, 0], [30, 0, 4, 2, 0]])
    scores = torch.tensor([0.5, 0.5, math.nan, 0.5, math.nan])
    assert nms_bev(boxes, scores, 0.5).tolist() == [0, 3, 4]


def test_suppressed_boxes_suppress_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 2, 0], [1.5, 0, 4, 2, 0], [3.0, 0, 4, 2, 0]])
    assert nms_bev(boxes, torch.tensor([3.0, 2.0, 1.0]), 0.4).tolist() == [0, 2]


def test_all_boxes_in_one_place() -> None:
    boxes = torch.tensor([[5.0, 5, 4, 2, 0.3]]).repeat(200, 1)
    scores = torch.rand(200, generator=torch.Generator().manual_seed(0))
    assert nms_bev(boxes, scores, 0.99).tolist() == [int(scores.argmax())]
    assert circle_nms(boxes[:, :2], scores, 0.0).tolist() == [int(scores.argmax())]


@pytest.mark.parametrize("count", [0, 1, 65, 500])
@pytest.mark.parametrize("radius_m", [0.0, 0.5, 4.0])
def test_circle_equals_greedy_loop(count: int, radius_m: float) -> None:
    boxes, scores = random_boxes(count, 30, seed=count)
    centres = boxes[:, :2]
    squared = (centres[:, None] - centres[None]).square().sum(-1)
    expected = greedy(squared <= radius_m**2, scores)
    assert torch.equal(circle_nms(centres, scores, radius_m), expected)


def test_circle_equals_mmdet3d() -> None:
    from perception.mmcv_ops import install

    install()
    from mmdet3d.models.layers import circle_nms as theirs

    boxes, scores = random_boxes(400, 50, seed=8)
    rows = torch.cat((boxes[:, :2], scores[:, None]), dim=1).numpy()
    kept = circle_nms(boxes[:, :2], scores, 2.0)
    assert kept.tolist() == [int(i) for i in theirs(rows, 4.0, post_max_size=400)]


def test_registered_correctly() -> None:
    boxes, scores = random_boxes(20, 10)
    torch.library.opcheck(torch.ops.perception.nms_bev.default, (boxes, scores, 0.3))
    torch.library.opcheck(torch.ops.perception.circle_nms.default, (boxes[:, :2], scores, 1.0))


def test_bad_input_is_refused() -> None:
    boxes, scores = random_boxes(5, 10)
    with pytest.raises(ValueError, match=r"boxes must be \[K,5\]"):
        nms_bev(boxes[:, :4], scores, 0.5)
    with pytest.raises(ValueError, match=r"scores must be \[5\]"):
        nms_bev(boxes, scores[:4], 0.5)
    with pytest.raises(ValueError, match="one type"):
        nms_bev(boxes, scores.double(), 0.5)
    with pytest.raises(ValueError, match="must not be negative"):
        nms_bev(boxes, scores, -0.1)
    with pytest.raises(ValueError, match="negative"):
        circle_nms(boxes[:, :2], scores, -1.0)
