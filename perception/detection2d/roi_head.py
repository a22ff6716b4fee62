"""The second stage, shared by the branches, and the merging of what they find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from perception.detection2d.scale_range import in_range


@MODELS.register_module()
class ScaleAwareRoIHead(StandardRoIHead):
    """StandardRoIHead for images that come once per branch, branch-major.

    Each branch keeps the boxes of its range; one NMS per class over all branches' boxes gives an image's detections.
    (mmdet's TridentRoIHead merges a batch as if it were image-major.)

    Raises ValueError when it is given a mask head: masks of merged boxes are not provided.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("mask_head") is not None:
            raise ValueError("ScaleAwareRoIHead has no masks: leave mask_head out of the config")
        super().__init__(**kwargs)

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: Sequence[dict[str, Any]],
        rpn_results_list: list[InstanceData],
        rcnn_test_cfg: Any,
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Detections of each of the B images, of maps, metas and proposals that are all R*B long.

        Each meta holds `branch`, and `valid_range` where the branch keeps to one.
        """
        # Without a test config mmdet gives what it has before its own NMS: boxes [n,C*4 or 4] and scores [n,C+1].
        raw = super().predict_bbox(x, batch_img_metas, rpn_results_list, None, rescale)
        images = sum(meta["branch"] == batch_img_metas[0]["branch"] for meta in batch_img_metas)
        detections = []
        for image in range(images):
            boxes, scores = [], []
            for found, meta in zip(raw[image::images], batch_img_metas[image::images], strict=True):
                if not len(found.bboxes):
                    continue
                found_scores = found.scores
                if "valid_range" in meta:
                    seen = dict(meta, scale_factor=(1.0, 1.0)) if rescale else meta
                    kept = in_range(found.bboxes.unflatten(1, (-1, 4)), seen)  # [n,C or 1]
                    # A score of 0 is below any threshold; the last column is the background's.
                    found_scores = torch.cat((found_scores[:, :-1] * kept, found_scores[:, -1:]), dim=1)
                boxes.append(found.bboxes)
                scores.append(found_scores)
            if not boxes:
                empty = x[0].new_zeros(0, 5)
                detections.append(InstanceData(bboxes=empty[:, :4], scores=empty[:, 4], labels=empty[:, 4].long()))
                continue
            dets, labels = multiclass_nms(
                torch.cat(boxes), torch.cat(scores), rcnn_test_cfg.score_thr, rcnn_test_cfg.nms,
                rcnn_test_cfg.max_per_img,
            )  # fmt: skip
            detections.append(InstanceData(bboxes=dets[:, :4], scores=dets[:, 4], labels=labels))
        return detections
