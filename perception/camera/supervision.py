"""What the camera branch learns in the pictures: depths, classes and rectangles, from LiDAR points and 3D boxes."""

from __future__ import annotations

from torch import Tensor

from perception.camera.branch import CameraBranch, CameraOutput
from perception.camera.image_boxes import box_depths, image_boxes
from perception.camera.lift import MeasuredCells
from perception.camera.semantics import cell_labels


def image_losses(
    camera: CameraBranch,
    output: CameraOutput,
    measured: MeasuredCells,
    points: Tensor,  # [P,5] float32, which `measured` was made of
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    boxes: Tensor,  # [K,9] float32, LiDAR frame
    labels: Tensor,  # [K] int64
    sample: Tensor,  # [K] int64
) -> dict[str, Tensor]:
    """Losses by name: loss_depth, and loss_semantic and loss_image_* where the branch has those heads.

    A feature cell's depth is that of its nearest LiDAR point; where there is none but the ray meets a box, that of the
    box's nearest face. Without a single point (a frame whose LiDAR is off) the boxes alone teach.
    """
    lift = camera.lift
    feature_hw = (output.depth_logits.shape[-2], output.depth_logits.shape[-1])
    image_hw = (feature_hw[0] * lift.stride, feature_hw[1] * lift.stride)
    faces = box_depths(boxes, sample, image_from_lidar, camera_mask, feature_hw, lift.stride)
    targets = lift.depth_targets(measured, faces)
    losses = {"loss_depth": lift.depth_loss(output.depth_logits, targets, camera_mask)}
    if camera.semantic is not None and output.semantic_logits is not None:
        seen = cell_labels(measured, points, boxes, labels, sample, camera.semantic.classes)
        losses["loss_semantic"] = camera.semantic.loss(output.semantic_logits, seen, camera_mask)
    if camera.image_head is not None and output.image is not None:
        objects = image_boxes(boxes, sample, image_from_lidar, camera_mask, image_hw)
        losses |= camera.image_head.loss(output.image, objects, labels, sample, camera_mask)
    return losses
