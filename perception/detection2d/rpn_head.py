"""The proposal stage, shared by the branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from perception.detection2d.scale_range import in_range


@MODELS.register_module()
class ScaleAwareRPNHead(RPNHead):
    """RPNHead whose training proposals are those of the branch's range: the second stage learns from no others.

    At test every branch proposes freely, as in the official code: ranges are kept on the refined boxes.
    """

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: Mapping[str, Any] | None = None,
    ) -> InstanceData:
        if self.training and img_meta is not None and "valid_range" in img_meta:
            results = results[in_range(results.bboxes, img_meta)]
        return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
