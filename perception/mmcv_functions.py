"""What `mmcv._ext` offers here: functions with the names, arguments and in-place results of mmcv's compiled operators.

mmcv's Python calls them (see perception/mmcv_ops.py). They put our operators, or a few lines of torch where speed does
not matter, behind mmcv's conventions:
    - Results go into tensors that the caller made.
    - Rotated 2D boxes are x y w h angle. mmcv calls the angle clockwise because its images have y pointing down; as
      formulas, its rotation and ours are the same.
    - 3D boxes of `points_in_boxes*` have their origin at the bottom centre, those of `iou3d*` at the gravity centre.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from perception.ops import box_iou_bev as iou_bev
from perception.ops.nms import nms as _nms
from perception.ops.nms_bev import nms_bev
from perception.ops.points_in_boxes import points_in_boxes, points_in_boxes_all
from perception.ops.roi_align import roi_align

__all__ = [
    "bbox_overlaps",
    "box_iou_rotated",
    "dynamic_voxelize_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "hard_voxelize_forward",
    "iou3d_boxes_overlap_bev_forward",
    "iou3d_nms3d_forward",
    "iou3d_nms3d_normal_forward",
    "nms",
    "nms_rotated",
    "points_in_boxes_all_forward",
    "points_in_boxes_cpu_forward",
    "points_in_boxes_part_forward",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
]


def get_compiler_version() -> str:
    return "none (operators of perception)"


def get_compiling_cuda_version() -> str:
    return torch.version.cuda or "not available"


# Suppression


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    return _nms(_precise(boxes), _precise(scores), iou_threshold, offset)


def nms_rotated(
    dets: Tensor,  # [K,5], or [K,6] with the label last
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    boxes, scores = _precise(dets[:, :5]), _precise(scores)
    if not multi_label:
        return nms_bev(boxes, scores, iou_threshold)
    kept = []
    for label in labels.unique():
        own = torch.nonzero(labels == label).flatten()
        kept.append(own[nms_bev(boxes[own], scores[own], iou_threshold)])
    indices = torch.cat(kept)
    return indices[torch.argsort(scores[indices], descending=True, stable=True)]


def iou3d_nms3d_forward(boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float) -> None:
    _keep_sorted(nms_bev, boxes[:, [0, 1, 3, 4, 6]], keep, num_out, nms_overlap_thresh)


def iou3d_nms3d_normal_forward(boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float) -> None:
    half = boxes[:, 3:5] / 2
    corners = torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), dim=1)
    _keep_sorted(_nms, corners, keep, num_out, nms_overlap_thresh)


def _keep_sorted(
    suppress: Callable[[Tensor, Tensor, float], Tensor], boxes: Tensor, keep: Tensor, num_out: Tensor, threshold: float
) -> None:
    """Suppress boxes that are in descending order of scores."""
    scores = torch.arange(len(boxes), 0, -1, device=boxes.device)
    precise = _precise(boxes)
    kept = suppress(precise, scores.to(precise.dtype), threshold)
    keep[: len(kept)] = kept.to(keep.device)
    num_out.fill_(len(kept))


# Overlap


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """mode_flag 0: intersection over union; 1: intersection over the area of boxes1."""
    boxes1, boxes2 = _precise(boxes1), _precise(boxes2)

    def table(first: Tensor, second: Tensor) -> Tensor:
        if mode_flag == 0:
            return iou_bev.box_iou_bev(first, second)
        return iou_bev.box_overlap_bev(first, second) / (first[:, 2] * first[:, 3])[:, None]

    if aligned:
        pairs = zip(boxes1.split(64), boxes2.split(64), strict=True)
        values = torch.cat([table(first, second).diagonal() for first, second in pairs]) if len(boxes1) else ious
    else:
        values = table(boxes1, boxes2)
    ious.copy_(values.reshape(ious.shape))


def iou3d_boxes_overlap_bev_forward(boxes_a: Tensor, boxes_b: Tensor, ans_iou: Tensor) -> None:
    columns = [0, 1, 3, 4, 6]
    ans_iou.copy_(iou_bev.box_overlap_bev(_precise(boxes_a[:, columns]), _precise(boxes_b[:, columns])))


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """mode 0: intersection over union; 1: intersection over the area of bboxes1."""
    first = bboxes1 if aligned else bboxes1[:, None]
    side = torch.minimum(first[..., 2:], bboxes2[:, 2:]) - torch.maximum(first[..., :2], bboxes2[:, :2]) + offset
    shared = side.clamp(min=0).prod(-1)
    area1 = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    area2 = (bboxes2[:, 2:] - bboxes2[:, :2] + offset).prod(-1)
    ious.copy_(shared / (area1 + area2 - shared if mode == 0 else area1))


# RoIAlign


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    if pool_mode != 1:
        raise NotImplementedError("roi_align: only pool_mode='avg' is provided; for 'max' install the full mmcv 2.1.0")
    size = (aligned_height, aligned_width)
    output.copy_(roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    precise = torch.float64 if grad_output.dtype == torch.float64 else torch.float32
    grad_input.copy_(
        torch.ops.perception.roi_align_backward(
            grad_output, rois.to(precise), list(grad_input.shape), spatial_scale, sampling_ratio, aligned
        )
    )


# Points and voxels


def points_in_boxes_part_forward(boxes: Tensor, points: Tensor, box_idx_of_points: Tensor) -> None:
    for sample, out in enumerate(box_idx_of_points):
        out.copy_(points_in_boxes(_precise(points[sample]), _gravity_centred(boxes[sample])))


def points_in_boxes_all_forward(boxes: Tensor, points: Tensor, box_idx_of_points: Tensor) -> None:
    for sample, out in enumerate(box_idx_of_points):
        out.copy_(points_in_boxes_all(_precise(points[sample]), _gravity_centred(boxes[sample])))


def points_in_boxes_cpu_forward(boxes: Tensor, points: Tensor, point_indices: Tensor) -> None:
    point_indices.copy_(points_in_boxes_all(_precise(points), _gravity_centred(boxes)).T)


def _gravity_centred(boxes: Tensor) -> Tensor:
    """From boxes whose z is that of their bottom."""
    boxes = _precise(boxes).clone()
    boxes[:, 2] += boxes[:, 5] / 2
    return boxes


def dynamic_voxelize_forward(
    points: Tensor,  # [P,C], x y z first
    voxel_size: Tensor,  # [3]
    coors_range: Tensor,  # [6]
    coors: Tensor,  # [P,3] int32, gets z y x; -1 outside the range
    NDim: int,
) -> None:
    low, high = coors_range.to(points.device).split(3)
    size = voxel_size.to(points.device)
    index = torch.floor((points[:, :3] - low) / size)
    inside = ((index >= 0) & (index < torch.round((high - low) / size))).all(1)
    coors.copy_(torch.where(inside[:, None], index.flip(1), -1))


def hard_voxelize_forward(
    points: Tensor,  # [P,C], x y z first
    voxel_size: Tensor,  # [3]
    coors_range: Tensor,  # [6]
    voxels: Tensor,  # [max_voxels,max_points,C] of zeros
    coors: Tensor,  # [max_voxels,3] int32, gets z y x
    num_points_per_voxel: Tensor,  # [max_voxels] int32
    voxel_num: Tensor,  # [] int64
    max_points: int,
    max_voxels: int,
    NDim: int,
    deterministic: bool,
) -> None:
    """The first max_points points of each of the first max_voxels voxels, both in order of appearance."""
    coords = torch.empty((len(points), 3), dtype=torch.int32, device=points.device)
    dynamic_voxelize_forward(points, voxel_size, coors_range, coords, NDim)
    inside = torch.nonzero(coords[:, 0] >= 0).flatten()
    unique, voxel, counts = torch.unique(coords[inside], dim=0, return_inverse=True, return_counts=True)
    by_voxel = torch.argsort(voxel, stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(voxel)
    place[by_voxel] = torch.arange(len(voxel), device=points.device) - starts.repeat_interleave(counts)
    appearance = torch.argsort(by_voxel[starts])
    rank = torch.empty_like(appearance)
    rank[appearance] = torch.arange(len(appearance), device=points.device)

    filled = min(len(unique), max_voxels)
    taken = (place < max_points) & (rank[voxel] < max_voxels)
    voxels[rank[voxel[taken]], place[taken]] = points[inside[taken]]
    coors[:filled] = unique[appearance[:filled]]
    num_points_per_voxel[:filled] = counts[appearance[:filled]].clamp(max=max_points)
    voxel_num.fill_(filled)


# Focal loss (Lin et al., ICCV 2017, eq. 5), which mmdet computes itself on the CPU and asks mmcv for on the GPU


def sigmoid_focal_loss_forward(
    input: Tensor,  # [K,C] logits
    target: Tensor,  # [K] int64; C is background
    weight: Tensor,  # [C], or [0] for none
    output: Tensor,  # [K,C]
    gamma: float,
    alpha: float,
) -> None:
    output.copy_(_focal_loss(input.float(), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    with torch.enable_grad():
        logits = input.detach().float().requires_grad_()
        (grad,) = torch.autograd.grad(_focal_loss(logits, target, weight, gamma, alpha).sum(), logits)
    grad_input.copy_(grad)


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    signed = torch.where(positive, logits, -logits)
    share = torch.where(positive, alpha, 1 - alpha)
    loss = -share * torch.sigmoid(-signed) ** gamma * torch.nn.functional.logsigmoid(signed)
    return loss * weight[target, None] if weight.numel() else loss


def _precise(tensor: Tensor) -> Tensor:
    """16-bit boxes as float32, anything else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
