"""nms against a greedy loop over a full table of IoUs."""

import pytest
import torch
from torch import Tensor

from perception.ops.nms import nms


def twin(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> Tensor:
    side = (boxes[:, 2:] - boxes[:, :2] + offset).double()
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low + offset).double().clamp(min=0).prod(-1)
    iou = shared / (side.prod(-1)[:, None] + side.prod(-1) - shared)
    kept: list[int] = []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        if not any(iou[i, j] > threshold for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def random_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    side = torch.rand(count, 2, generator=generator) * 40 + 1
    return torch.cat((corner, corner + side), dim=1), torch.rand(count, generator=generator)


@pytest.mark.parametrize("count", [0, 1, 2, 64, 65, 400])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_equals_greedy_loop(count: int, offset: int, threshold: float) -> None:
    boxes, scores = random_boxes(count, count)
    expected = twin(boxes, scores, threshold, offset)
    assert torch.equal(nms(boxes, scores, threshold, offset), expected)
    assert torch.equal(nms(boxes.double(), scores.double(), threshold, offset), expected)


def test_integer_boxes_at_the_threshold_are_kept() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 1]])  # IoU with the first: 1/2, 1/4
    scores = torch.tensor([3.0, 2.0, 1.0])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1, 2]
    assert nms(boxes, scores, 0.49).tolist() == [0, 2]


def test_equal_scores_keep_the_lower_index() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(5, 1)
    assert nms(boxes, torch.ones(5), 0.5).tolist() == [0]


def test_boxes_without_area_are_kept() -> None:
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 4, 4], [3, 3, 2, 2]])
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1, 2, 3]


def test_strided_input() -> None:
    boxes, scores = random_boxes(50, 1)
    wide = torch.zeros(50, 8)
    wide[:, ::2] = boxes
    assert torch.equal(nms(wide[:, ::2], scores, 0.4), nms(boxes, scores, 0.4))


def test_registered_correctly() -> None:
    boxes, scores = random_boxes(20, 2)
    torch.library.opcheck(torch.ops.perception.nms.default, (boxes, scores, 0.3, 0))


def test_bad_input_is_refused() -> None:
    boxes, scores = random_boxes(5, 3)
    with pytest.raises(ValueError, match=r"boxes must be \[K,4\]"):
        nms(boxes[:, :3], scores, 0.5)
    with pytest.raises(ValueError, match="offset must be 0 or 1"):
        nms(boxes, scores, 0.5, 2)
    with pytest.raises(ValueError, match="float32 or float64"):
        nms(boxes.half(), scores.half(), 0.5)
