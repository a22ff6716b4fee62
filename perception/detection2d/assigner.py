"""Targets of one branch: objects of other branches' ranges are neither found nor missed by it."""

from __future__ import annotations

from typing import Any

from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData


@TASK_UTILS.register_module()
class ScaleAwareAssigner(MaxIoUAssigner):
    """MaxIoUAssigner that leaves out priors which overlap an object outside the branch's range.

    Those objects stand among the ignored instances, where `out_of_range` [G] bool is True for them (TridentDetector
    puts them there). Ignored instances of the data set keep mmdet's rule, `ignore_iof_thr`.

    Args:
        out_of_range_iou: priors with a greater IoU with such an object are not sampled. The official code has 0.3 for
            anchors; for the second stage 0.5 leaves out what would be positive, were the object in the range.
        kwargs: of MaxIoUAssigner.
    """

    def __init__(self, out_of_range_iou: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_of_range_iou = out_of_range_iou

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """mmdet's assignment; gt_inds [P] is -1 for priors that are left out."""
        if gt_instances_ignore is None or "out_of_range" not in gt_instances_ignore:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        others = gt_instances_ignore.out_of_range
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore[~others], **kwargs)
        if others.any() and len(pred_instances.priors):
            overlaps = self.iou_calculator(gt_instances_ignore.bboxes[others], pred_instances.priors)
            left_out = overlaps.amax(dim=0) > self.out_of_range_iou
            result.gt_inds[left_out] = -1
            result.labels[left_out] = -1
        return result
