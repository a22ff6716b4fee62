"""Scale-aware training and testing: each branch on its range, against mmdet where there are no ranges."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import perception.detection2d  # noqa: F401

# isort: split
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from perception.detection2d import ScaleAwareAssigner, TridentDetector
from perception.detection2d.scale_range import box_scale, in_range
from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
IOU = {"pos_iou_thr": 0.5, "neg_iou_thr": 0.3, "min_pos_iou": 0.3}
SMALL, MIDDLE, LARGE = [10.0, 10, 30, 30], [40.0, 20, 100, 80], [20.0, 10, 180, 110]  # scales 20, 60, 126


def detector(**changes: Any) -> TridentDetector:
    """The demo's detector with random weights, which finds something everywhere."""
    init_default_scope("mmdet")
    config = load_config(CONFIGS / "trident_2d_demo.py", {f"model.{name}": value for name, value in changes.items()})
    torch.manual_seed(0)
    model: TridentDetector = MODELS.build(config.model)
    for head in (model.roi_head.bbox_head.fc_reg, model.roi_head.bbox_head.fc_cls):
        torch.nn.init.normal_(head.weight, std=0.5)
    return model


def sample(boxes: list[list[float]], scale: float = 1.0, crowd: list[list[float]] | None = None) -> DetDataSample:
    size = (128, 192)
    recorded = tuple(round(side / scale) for side in size)
    out = DetDataSample(
        metainfo={
            "img_shape": size, "pad_shape": size, "batch_input_shape": size, "ori_shape": recorded,
            "scale_factor": (scale, scale),
        }
    )  # fmt: skip
    tensor = torch.tensor(boxes).reshape(-1, 4)
    out.gt_instances = InstanceData(bboxes=tensor, labels=torch.arange(len(tensor)))
    if crowd is not None:
        out.ignored_instances = InstanceData(bboxes=torch.tensor(crowd), labels=torch.zeros(len(crowd)).long())
    return out


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 128, 192, generator=torch.Generator().manual_seed(1))


def test_scale_is_of_the_recorded_image() -> None:
    boxes = torch.tensor([SMALL, LARGE])
    assert torch.allclose(box_scale(boxes, {}), torch.tensor([20.0, 16000**0.5]))
    meta = {"scale_factor": (0.5, 0.25), "valid_range": (50.0, 57.0)}
    assert torch.allclose(box_scale(boxes, meta)[0], torch.tensor((40.0 * 80.0) ** 0.5))
    assert in_range(boxes, meta).tolist() == [True, False]


def test_every_branch_is_given_the_objects_of_its_range() -> None:
    model = detector(valid_ranges=((0, 40), (30, 100), (60, float("inf")))).train()
    copies = model._per_branch([sample([SMALL, MIDDLE, LARGE], crowd=[[0.0, 0, 50, 50]]), sample([SMALL], scale=0.5)])
    assert [copy.branch for copy in copies] == [0, 0, 1, 1, 2, 2]
    assert [copy.gt_instances.labels.tolist() for copy in copies] == [[0], [0], [1], [0], [1, 2], []]
    assert [copy.ignored_instances.out_of_range.tolist() for copy in copies[::2]] == [
        [True, True, False], [True, True, False], [True, False],
    ]  # fmt: skip


def priors() -> Tensor:
    centre = torch.rand(400, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([192.0, 128])
    half = torch.rand(400, 2, generator=torch.Generator().manual_seed(4)) * 50 + 5
    return torch.cat((centre - half, centre + half), dim=1)


def test_assigner_leaves_out_what_overlaps_other_ranges() -> None:
    theirs, ours = MaxIoUAssigner(**IOU), ScaleAwareAssigner(out_of_range_iou=0.3, **IOU)
    boxes = torch.tensor([SMALL, MIDDLE])
    gt = InstanceData(bboxes=boxes[1:], labels=torch.tensor([4]))
    pred = InstanceData(priors=torch.cat((priors(), boxes)))
    expected = theirs.assign(pred, gt).gt_inds
    ignored = InstanceData(bboxes=boxes[:1], labels=torch.tensor([2]), out_of_range=torch.tensor([True]))
    result = ours.assign(pred, gt, ignored)
    near = theirs.iou_calculator(boxes[:1], pred.priors)[0] > 0.3
    assert near.sum() > 1 and (expected > 0).sum() > 1
    assert (result.gt_inds[near] == -1).all() and torch.equal(result.gt_inds[~near], expected[~near])
    none = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0).long(), out_of_range=torch.zeros(0, dtype=torch.bool))
    assert torch.equal(ours.assign(pred, gt, none).gt_inds, expected)
    assert torch.equal(ours.assign(pred, gt, None).gt_inds, expected)


def test_proposals_to_learn_from_are_of_the_range() -> None:
    model = detector(valid_ranges=((0, 40), (30, 100), (60, float("inf")))).train()
    copies = model._per_branch([sample([MIDDLE])] * 2)
    with torch.no_grad():
        features = model.extract_feat(images(2))
        found = model.rpn_head.loss_and_predict(features, copies, proposal_cfg=model.train_cfg.rpn_proposal)[1]
    for copy, proposals in zip(copies, found, strict=True):
        assert len(proposals) and in_range(proposals.bboxes, copy.metainfo).all()


def test_all_branches_learn_and_nothing_breaks_without_objects() -> None:
    """Branches without an object in their range, and an image without any."""
    model = detector(valid_ranges=((0, 40), (30, 100), (60, float("inf")))).train()
    losses = model.loss(images(2), [sample([SMALL]), sample([])])
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.backbone.layer3[1].conv2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rescale", [True, False])
def test_merged_detections_equal_those_of_each_branch_alone(rescale: bool) -> None:
    """By hand: run each branch by itself, keep its range, one NMS per class over all of them."""
    from mmcv.ops import batched_nms

    ranges = ((0.0, 80.0), (60.0, 150.0), (120.0, float("inf")))
    model = detector(valid_ranges=ranges, **{"test_cfg.rcnn.score_thr": 0.05}).eval()
    samples = [sample([], scale=0.5), sample([], scale=0.4)]
    with torch.no_grad():
        merged = model.predict(images(2), [s.clone() for s in samples], rescale=rescale)
        raw: list[list[tuple[Tensor, Tensor]]] = []
        for branch in range(3):
            model.test_branch = branch
            copies = model._per_branch(samples)
            x = model.extract_feat(images(2))
            proposals = model.rpn_head.predict(x, copies, rescale=False)
            found = super(type(model.roi_head), model.roi_head).predict_bbox(
                x, [copy.metainfo for copy in copies], proposals, None, rescale
            )
            raw.append([(one.bboxes, one.scores) for one in found])
    for image, (got, meta) in enumerate(zip(merged, samples, strict=True)):
        boxes, scores, labels = [], [], []
        for (low, high), one in zip(ranges, raw, strict=True):
            box, score = one[image]
            factor = 1.0 if rescale else meta.scale_factor[0]
            size = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).sqrt() / factor
            for label in range(10):
                kept = (size >= low) & (size <= high) & (score[:, label] > 0.05)
                boxes.append(box[kept])
                scores.append(score[kept, label])
                labels.append(torch.full((int(kept.sum()),), label))
        dets, keep = batched_nms(
            torch.cat(boxes), torch.cat(scores), torch.cat(labels), {"type": "nms", "iou_threshold": 0.5}
        )
        expected_labels = torch.cat(labels)[keep]
        pred = got.pred_instances
        assert 5 < len(pred) <= 100
        assert torch.allclose(pred.scores, dets[: len(pred), 4], atol=1e-5)
        assert torch.allclose(pred.bboxes, dets[: len(pred), :4], atol=1e-2)
        assert torch.equal(pred.labels, expected_labels[: len(pred)])


def test_fast_runs_the_middle_branch_for_all_sizes() -> None:
    fast = detector(valid_ranges=None, test_branch=1).eval()
    middle = detector(valid_ranges=None, **{"backbone.dilations": (2,)}).eval()
    middle.load_state_dict(fast.state_dict())
    with torch.no_grad():
        (got,), (expected,) = (net.predict(images(1), [sample([])]) for net in (fast, middle))
    assert len(got.pred_instances) > 5
    assert torch.allclose(got.pred_instances.bboxes, expected.pred_instances.bboxes, atol=1e-3)
    assert fast.train().running == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_ranges": ((0, 80), (30, 140))}, "3 pairs"),
        ({"valid_ranges": ((0, 80), (140, 30), (80, 200))}, "low < high"),
        ({"test_branch": 3}, r"0\.\.2"),
        ({"backbone.frozen_stages": 4}, "frozen_stages"),
    ],
)
def test_refuses_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**changes)


def test_frozen_parts_stand_still() -> None:
    model = detector(**{"backbone.frozen_stages": 1, "backbone.norm_eval": True, "backbone.frozen_norms": True}).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    total, _ = model.parse_losses(model.loss(images(1), [sample([MIDDLE])]))
    total.backward()
    optimizer.step()
    changed = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(("layer2", "layer3")) and before[name].ndim == 4}
