"""mmdet and mmdet3d run on what we put in place of mmcv's compiled operators: results through mmcv's own Python."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shapely.geometry import Polygon
from torch import Tensor
from torch.nn import functional as F

from perception.mmcv_ops import install

install()
ops = importlib.import_module("mmcv.ops")
PILLARS = "centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
ours = type(sys.modules["mmcv._ext"]).__module__ == "perception.mmcv_ops"


def random_boxes(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """[K,5] x y w h angle in a small place, and scores."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([0.0, 0, 1, 0.5, -math.pi])
    high = torch.tensor([15.0, 15, 6, 2.5, math.pi])
    return low + torch.rand(count, 5, generator=generator) * (high - low), torch.rand(count, generator=generator)


def polygon(box: Tensor) -> Polygon:
    """Corners as mmcv documents them for clockwise=True: the centre plus the rotation matrix times half the sides."""
    x, y, width, height, angle = box.double().tolist()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return Polygon([turn @ (s * width / 2, t * height / 2) + (x, y) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Shared areas [K,L] and areas of a [K,1]."""
    first, second = [polygon(box) for box in a], [polygon(box) for box in b]
    shared = [[p.intersection(q).area for q in second] for p in first]
    return torch.tensor(shared, dtype=torch.float64), torch.tensor([[p.area] for p in first], dtype=torch.float64)


def ious(a: Tensor, b: Tensor) -> Tensor:
    shared, area = overlaps(a, b)
    return shared / (area + overlaps(b, a)[1].T - shared)


def greedy(suppressed_by: Tensor, scores: Tensor) -> list[int]:
    kept: list[int] = []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        if not any(suppressed_by[i, j] for j in kept):
            kept.append(i)
    return kept


def test_the_packages_import() -> None:
    for name in ("mmdet.models", "mmdet3d.models", "mmdet3d.datasets", "mmdet3d.evaluation", "mmdet3d.apis"):
        importlib.import_module(name)
    assert importlib.util.find_spec("mmcv._ext") is not None


@pytest.mark.skipif(not ours, reason="a full mmcv is installed: it has every operator")
def test_a_missing_operator_is_named_with_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match=r"'nms_match'.*install the full mmcv 2\.1\.0"):
        ops.nms_match(torch.rand(4, 5), 0.5)


@pytest.mark.parametrize("clockwise", [True, False])
def test_box_iou_rotated(clockwise: bool) -> None:
    a, b = random_boxes(20)[0], random_boxes(30, 1)[0]
    sign = torch.tensor([1, 1, 1, 1, 1 if clockwise else -1])
    shared, area = overlaps(a * sign, b * sign)
    expected = ious(a * sign, b * sign)
    result = ops.box_iou_rotated(a, b, clockwise=clockwise)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-6)
    result = ops.box_iou_rotated(a, b, mode="iof", clockwise=clockwise)
    torch.testing.assert_close(result.double(), shared / area, rtol=1e-5, atol=1e-6)
    result = ops.box_iou_rotated(a, b[:20], aligned=True, clockwise=clockwise)
    torch.testing.assert_close(result.double(), expected[:, :20].diagonal(), rtol=1e-5, atol=1e-6)


def test_nms_rotated_with_and_without_labels() -> None:
    boxes, scores = random_boxes(80)
    over = ious(boxes, boxes) > 0.2
    dets, kept = ops.nms_rotated(boxes, scores, 0.2)
    assert kept.tolist() == greedy(over, scores)
    assert torch.equal(dets, torch.cat((boxes, scores[:, None]), dim=1)[kept])
    labels = torch.arange(80) % 3
    _, kept = ops.nms_rotated(boxes, scores, 0.2, labels)
    assert kept.tolist() == greedy(over & (labels[:, None] == labels), scores)


def test_nms_and_batched_nms() -> None:
    boxes, scores = random_boxes(80)
    corners = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]), dim=1)
    flat = boxes.clone()
    flat[:, 4] = 0
    over = ious(flat + F.pad(boxes[:, 2:4] / 2, (0, 3)), flat + F.pad(boxes[:, 2:4] / 2, (0, 3))) > 0.3
    assert ops.nms(corners, scores, 0.3)[1].tolist() == greedy(over, scores)
    labels = torch.arange(80) % 4
    _, kept = ops.batched_nms(corners, scores, labels, {"type": "nms", "iou_threshold": 0.3})
    assert kept.tolist() == greedy(over & (labels[:, None] == labels), scores)


def test_iou3d() -> None:
    boxes, scores = random_boxes(50)
    boxes3d = torch.cat((boxes[:, :2], torch.zeros(50, 1), boxes[:, 2:4], torch.ones(50, 1), boxes[:, 4:]), dim=1)
    shared, _ = overlaps(boxes, boxes)
    torch.testing.assert_close(ops.boxes_overlap_bev(boxes3d, boxes3d).double(), shared, rtol=1e-5, atol=1e-5)
    assert ops.nms3d(boxes3d, scores, 0.25).tolist() == greedy(ious(boxes, boxes) > 0.25, scores)
    flat = boxes.clone()
    flat[:, 4] = 0
    assert ops.nms3d_normal(boxes3d, scores, 0.25).tolist() == greedy(ious(flat, flat) > 0.25, scores)


def test_bbox_overlaps() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [32, 32, 38, 42]])
    b = torch.tensor([[0.0, 0, 10, 20], [0, 10, 10, 19], [10, 10, 20, 20]])
    assert ops.bbox_overlaps(a, b).tolist() == [[0.5, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert ops.bbox_overlaps(a, b, mode="iof").tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert ops.bbox_overlaps(a, a, aligned=True, offset=1).tolist() == [1, 1, 1]


def test_roi_align_and_its_gradient() -> None:
    # A plane is interpolated exactly: the mean of a bin is the plane's value in its middle.
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    features = torch.stack((rows, columns, 2 * rows - columns))[None].requires_grad_()
    rois = torch.tensor([[0.0, 4, 4, 12, 8], [0, 10.3, 2.7, 21.1, 15.9]])
    out = ops.RoIAlign((2, 4), spatial_scale=1.0, sampling_ratio=2, aligned=True)(features, rois)
    for r, (_, x1, y1, x2, y2) in enumerate(rois.tolist()):
        middle_y = y1 - 0.5 + (torch.arange(2) + 0.5) * (y2 - y1) / 2
        middle_x = x1 - 0.5 + (torch.arange(4) + 0.5) * (x2 - x1) / 4
        torch.testing.assert_close(out[r, 0], middle_y[:, None].expand(2, 4))
        torch.testing.assert_close(out[r, 1], middle_x[None].expand(2, 4))
        torch.testing.assert_close(out[r, 2], 2 * middle_y[:, None] - middle_x[None])
    out.sum().backward()
    assert math.isclose(features.grad.sum().item(), out.numel(), rel_tol=1e-5)  # interpolation weights sum to 1


def test_points_in_boxes_have_their_origin_at_the_bottom() -> None:
    box = torch.tensor([[[0.0, 0, 0, 4, 2, 2, math.pi / 2]]])  # along y, from z 0 to 2
    points = torch.tensor([[[0.0, 1.9, 1.9], [1.9, 0, 1], [0, 0, -0.1], [0.9, -1.9, 0.1], [0, 0, 2.1]]])
    assert ops.points_in_boxes_cpu(points, box)[0, :, 0].tolist() == [1, 0, 0, 1, 0]


def test_voxelization_equals_a_loop_over_points() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3000, 4, generator=generator) * torch.tensor([9.0, 9, 5, 1]) - torch.tensor([4.5, 4.5, 2.5, 0])
    size, limits, most_points, most_voxels = [0.5, 1.0, 4.0], [-4.0, -4, -2, 4, 4, 2], 7, 90
    voxels: dict[tuple[int, ...], list[int]] = {}
    cells = []
    for i, point in enumerate(points[:, :3].numpy()):
        low = np.float32(limits[:3])
        cell = tuple(np.floor((point - low) / np.float32(size)).astype(int)[::-1])
        inside = all(0 <= c < n for c, n in zip(cell, (1, 8, 16), strict=True))
        cells.append(cell if inside else (-1, -1, -1))
        if inside and (cell in voxels or len(voxels) < most_voxels):
            voxels.setdefault(cell, []).append(i)
    assert len(voxels) == most_voxels
    assert max(len(members) for members in voxels.values()) > most_points

    values, coords, counts = ops.Voxelization(size, limits, most_points, most_voxels)(points)
    assert [tuple(c) for c in coords.tolist()] == list(voxels)
    assert counts.tolist() == [min(len(members), most_points) for members in voxels.values()]
    for value, members in zip(values, voxels.values(), strict=True):
        expected = torch.zeros(most_points, 4)
        expected[: len(members)] = points[members[:most_points]]
        assert torch.equal(value, expected)
    dynamic = ops.Voxelization(size, limits, -1, -1)(points)
    assert [tuple(c) for c in dynamic.tolist()] == cells
    empty = ops.Voxelization(size, limits, most_points, most_voxels)(points[:0])
    assert [len(part) for part in empty] == [0, 0, 0]


def test_sigmoid_focal_loss_equals_mmdets() -> None:
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.arange(40) % 6
    mine, theirs = logits.float().requires_grad_(), logits.clone().requires_grad_()
    result = ops.sigmoid_focal_loss(mine, target, 2.0, 0.25, None, "none")
    one_hot = F.one_hot(target, 6)[:, :5]
    expected = py_sigmoid_focal_loss(theirs, one_hot, gamma=2.0, alpha=0.25, reduction="none")
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-7)
    loss = ops.sigmoid_focal_loss(mine, target, 2.0, 0.25, None, "sum")
    loss.backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def untrained(package: str, config: str, **changes: object) -> torch.nn.Module:
    """The detector of one of the configs that mmdet and mmdet3d are installed with; changes by dotted name."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    module = importlib.import_module(package)
    importlib.import_module(f"{package}.models")
    settings = Config.fromfile(Path(module.__file__).parent / ".mim" / "configs" / config)
    settings.merge_from_dict({f"model.{name}": value for name, value in changes.items()})
    registry = importlib.import_module(f"{package}.registry").MODELS
    with DefaultScope.overwrite_default_scope(package):
        torch.manual_seed(0)
        return registry.build(settings.model)


def test_two_stage_detector_trains_and_predicts() -> None:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    small = {"backbone.init_cfg": None, "roi_head.bbox_head.fc_out_channels": 32}
    model = untrained("mmdet", "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", **small)
    size = (96, 128)
    shapes = {"img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size}
    sample = DetDataSample(metainfo={**shapes, "scale_factor": (1.0, 1.0)})
    boxes = torch.tensor([[10.0, 10, 60, 60], [40, 30, 100, 90]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([3, 7]))
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    losses = model.loss(image, [sample])
    total = sum(value if isinstance(value, Tensor) else sum(value) for key, value in losses.items() if "loss" in key)
    total.backward()
    gradient = model.roi_head.bbox_head.shared_fcs[0].weight.grad
    assert torch.isfinite(total)
    assert gradient.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        (result,) = model.predict(image, [sample])
    assert result.pred_instances.bboxes.shape[1] == 4


def test_pillar_detector_predicts() -> None:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    model = untrained("mmdet3d", f"centerpoint/{PILLARS}").eval()
    points = torch.rand(2000, 5, generator=torch.Generator().manual_seed(0)) * 60 - 30
    points[:, 2] = points[:, 2] / 15 - 1
    sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    with torch.no_grad():
        batch = model.data_preprocessor({"inputs": {"points": [points]}, "data_samples": [sample]}, training=False)
        (result,) = model.predict(batch["inputs"], batch["data_samples"])
    assert result.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9
