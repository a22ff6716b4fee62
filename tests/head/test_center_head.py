"""Targets against a loop over boxes; targets and decoding as inverses of each other."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.head.box_code import decode_boxes
from perception.head.center_head import CenterHead, HeadOutput, _peaks
from perception.head.center_targets import CenterLoss, center_targets, gaussian_focal_loss, gaussian_radius

GRID = BEVGrid((-20.0, 20.0), (-16.0, 16.0), (-5.0, 3.0), (0.5, 0.5, 8.0))


def some_boxes(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, 9, generator=generator)
    low = torch.tensor([-22.0, -18.0, -1.0, 0.4, 0.4, 0.5, -math.pi, -5.0, -5.0])
    high = torch.tensor([22.0, 18.0, 1.0, 11.0, 3.0, 3.5, math.pi, 5.0, 5.0])
    boxes = low + unit * (high - low)
    labels = torch.randint(3, (count,), generator=generator)
    return boxes, labels, torch.randint(2, (count,), generator=generator)


def test_heatmap_equals_a_loop_over_boxes() -> None:
    boxes, labels, sample = some_boxes(40)
    target = center_targets(boxes, labels, sample, 2, 3, GRID)
    expected = torch.zeros(2, 3, 64, 80)
    kept = 0
    for box, label, b in zip(boxes, labels, sample, strict=True):
        column, row = math.floor((box[0] + 20) / 0.5), math.floor((box[1] + 16) / 0.5)
        if not (0 <= column < 80 and 0 <= row < 64):
            continue
        kept += 1
        radius = min(max(int(gaussian_radius(box[3] / 0.5, box[4] / 0.5, 0.1)), 1), 16)
        sigma = (2 * radius + 1) / 6
        for y in range(max(0, row - radius), min(64, row + radius + 1)):
            for x in range(max(0, column - radius), min(80, column + radius + 1)):
                value = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                expected[b, label, y, x] = max(expected[b, label, y, x], value)
    assert len(target.cell) == kept < 40
    assert torch.allclose(target.heatmap, expected, atol=1e-5)


def test_radius_keeps_the_overlap() -> None:
    """A box and its copy shifted by the radius along both axes overlap by min_overlap at least (CornerNet's case 1)."""
    length, width = torch.tensor([8.0]), torch.tensor([4.0])
    for overlap in (0.1, 0.3, 0.5):
        r = gaussian_radius(length, width, overlap)
        inter = (8 - r) * (4 - r)
        assert inter / (2 * 32 - inter) >= overlap - 1e-4


@pytest.mark.parametrize("groups", [((0, 1, 2),), ((2,), (0, 1))])
def test_decode_inverts_the_targets(groups: tuple[tuple[int, ...], ...]) -> None:
    boxes, labels, sample = some_boxes(12, seed=3)
    boxes[:, :2] = boxes[:, :2].clamp(-15, 15)
    head = CenterHead(8, GRID, groups, channels=8, candidates=50)
    target = center_targets(boxes, labels, sample, 2, 3, GRID)
    regression = torch.zeros(2, len(groups), 10, 64 * 80)
    regression[target.sample, head.group_of_class[target.label], :, target.cell] = target.code
    heatmap = torch.where(target.heatmap == 1, 5.0, -5.0)
    detections = head.decode(HeadOutput(heatmap, regression.unflatten(3, (64, 80)), None))
    for b in range(2):
        found = detections.scores[b] > 0.5
        assert int(found.sum()) == int((sample == b).sum())
        for box, label in zip(boxes[sample == b], labels[sample == b], strict=True):
            error = (detections.boxes[b, found] - box).abs().amax(1)
            assert error.min() < 1e-3
            assert detections.labels[b, found][error.argmin()] == label


def test_neighbouring_cells_regress_the_same_box() -> None:
    boxes, labels, sample = some_boxes(30, seed=2)
    target = center_targets(boxes, labels, sample, 2, 3, GRID, box_radius=1)
    assert target.boxes < len(target.cell) <= 9 * target.boxes
    # Decoded at its own cell, every target is one of the boxes, and the shares of a box add up to one.
    decoded = decode_boxes(target.code, target.cell % 80, target.cell // 80, GRID)
    assert torch.allclose(decoded, target.box, atol=1e-3)
    error = (decoded[:, None] - boxes[None]).abs().amax(2)
    assert error.amin(1).max() < 1e-3
    shares = torch.zeros(30).index_add_(0, error.argmin(1), target.weight[:, 0])
    assert torch.allclose(shares[shares > 0], torch.ones(target.boxes), atol=1e-5)


def test_class_order_survives_groups() -> None:
    head = CenterHead(4, GRID, ((2, 0), (1,)), channels=4)
    with torch.no_grad():
        for conv in head.heatmaps:
            conv.weight.zero_()
        head.heatmaps[0].bias.copy_(torch.tensor([2.0, 0.0]))
        head.heatmaps[1].bias.fill_(1.0)
        out = head(torch.zeros(1, 4, 64, 80))
    assert out.heatmap[0, :, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_a_worse_detection_too_near_a_better_one_gets_no_score() -> None:
    head = CenterHead(4, GRID, ((0, 1, 2),), nms_radius_m=(2.0, 0.0, 0.0))
    heatmap = torch.full((1, 3, 64, 80), -9.0)
    for label, column, logit in ((0, 40, 3.0), (0, 42, 2.0), (0, 50, 1.0), (1, 41, 0.5), (1, 43, 0.4)):
        heatmap[0, label, 30, column] = logit
    regression = torch.zeros(1, 1, 10, 64, 80)
    scores = head.decode(HeadOutput(heatmap, regression, None)).scores[0]
    assert (scores[:5] > 0).tolist() == [True, False, True, True, True]


def test_unknown_velocity_is_not_learnt() -> None:
    boxes, labels, sample = some_boxes(5)
    boxes[:, :2] = boxes[:, :2].clamp(-15, 15)
    boxes[:, 7:] = float("nan")
    box = torch.randn(2, 1, 10, 64, 80, requires_grad=True)
    output = HeadOutput(torch.zeros(2, 3, 64, 80), box, None)
    loss = CenterLoss(GRID, 3)(CenterHead(4, GRID, ((0, 1, 2),)), output, boxes, labels, sample)
    loss["loss_box"].backward()
    assert torch.isfinite(loss["loss_box"]) and box.grad is not None
    assert box.grad[:, :, 8:].abs().sum() == 0 < box.grad[:, :, :8].abs().sum()


def test_no_boxes_at_all() -> None:
    head = CenterHead(4, GRID, ((0, 1, 2),), channels=4, iou_share=0.5)
    empty = torch.zeros(0, dtype=torch.long)
    losses = CenterLoss(GRID, 3)(head, head(torch.zeros(1, 4, 64, 80)), torch.zeros(0, 9), empty, empty)
    assert all(torch.isfinite(v) for v in losses.values()) and losses["loss_box"] == 0 == losses["loss_iou"]


def test_a_better_placed_box_passes_before_a_likelier_one() -> None:
    head = CenterHead(4, GRID, ((0, 1), (2,)), channels=4, iou_share=0.5)
    heatmap = torch.full((1, 3, 64, 80), -9.0)
    heatmap[0, 0, 30, 40], heatmap[0, 2, 10, 12] = 2.0, 1.0
    iou = torch.full((1, 2, 64, 80), -1.0)
    iou[0, 0, 30, 40], iou[0, 1, 10, 12] = 0.0, 0.9
    found = head.decode(HeadOutput(heatmap, torch.zeros(1, 2, 10, 64, 80), iou))
    assert found.labels[0, :2].tolist() == [2, 0]
    expected = [(1 / (1 + math.exp(-logit)) * share) ** 0.5 for logit, share in ((1.0, 0.95), (2.0, 0.5))]
    assert found.scores[0, :2].tolist() == pytest.approx(expected, rel=1e-5)
    assert (found.scores[0].diff() <= 0).all()


def test_the_predicted_overlap_learns_the_overlap_of_the_predicted_box() -> None:
    boxes, labels, sample = some_boxes(20)
    target = center_targets(boxes, labels, sample, 2, 3, GRID)
    head = CenterHead(4, GRID, ((0, 1, 2),), channels=4, iou_share=0.5)
    code = torch.zeros(2, 1, 10, 64 * 80)
    code[target.sample, 0, :, target.cell] = target.code
    # Half the boxes stand where the objects are, the others out of their reach.
    lost = torch.arange(len(target.cell)) % 2 == 1
    code[target.sample[lost], 0, 2, target.cell[lost]] += 20.0
    iou = torch.zeros(2, 1, 64 * 80)
    iou[target.sample, 0, target.cell] = torch.where(lost, -1.0, 1.0)
    output = HeadOutput(torch.zeros(2, 3, 64, 80), code.unflatten(3, (64, 80)), iou.unflatten(2, (64, 80)))
    assert CenterLoss(GRID, 3)(head, output, boxes, labels, sample)["loss_iou"] < 1e-3
    wrong = output._replace(iou=-output.iou)
    assert CenterLoss(GRID, 3)(head, wrong, boxes, labels, sample)["loss_iou"] == pytest.approx(2.0, abs=1e-3)


def test_focal_loss_equals_the_formula() -> None:
    logits, target = torch.randn(1, 2, 4, 4, dtype=torch.float64).float(), torch.rand(1, 2, 4, 4)
    target[0, 0, 1, 1] = 1.0
    expected = 0.0
    for logit, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        expected -= (1 - p) ** 2 * math.log(p) if t == 1 else (1 - t) ** 4 * p**2 * math.log(1 - p)
    assert gaussian_focal_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_peaks_are_maxima_and_a_flat_map_has_none_by_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    rough = torch.randperm(2 * 3 * 12 * 14, generator=generator).float().view(2, 3, 12, 14)
    assert torch.equal(_peaks(rough), F.max_pool2d(rough, 3, 1, 1) == rough)
    # Where nothing is seen, rounding alone tells the cells apart.
    flat = torch.full((1, 1, 12, 14), -1.0)
    for _ in range(3):
        noisy = flat + 1e-5 * torch.randn(flat.shape, generator=generator)
        assert _peaks(noisy).nonzero().tolist() == [[0, 0, 0, 0]]
    # A peak that half precision made two cells wide is one peak.
    flat[0, 0, 5, 6:8] = 2.0
    assert _peaks(flat).nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 5, 6]]
