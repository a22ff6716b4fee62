"""TridentNet as mmdet's two-stage detector, with scale-aware training (Li et al., ICCV 2019, sections 3.3 and 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from perception.detection2d.scale_range import EVERY_SCALE, in_range


@MODELS.register_module()
class TridentDetector(FasterRCNN):
    """Faster R-CNN over the branches of a TridentBackbone.

    Every image counts once per branch. In training a branch is given the objects of its valid range; the others are
    put among the ignored ones, which ScaleAwareAssigner leaves alone, and proposals outside the range are dropped. At
    test all branches propose, keep the boxes of their range, and are merged by NMS.

    Args:
        valid_ranges: (low, high) of sqrt(width * height) in px of the recorded image, one per branch; None for every
            scale in each, which trains TridentNet Fast.
        test_branch: at test run this branch alone, for objects of all sizes (TridentNet Fast: 1, the middle one).
        kwargs: of FasterRCNN.

    Raises ValueError when the ranges are not one per branch, not ascending, or the test branch does not exist.
    """

    def __init__(
        self,
        *,
        valid_ranges: Sequence[Sequence[float]] | None = None,
        test_branch: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        count = self.backbone.branches
        ranges = [EVERY_SCALE] * count if valid_ranges is None else [(float(a), float(b)) for a, b in valid_ranges]
        if len(ranges) != count or not all(low < high for low, high in ranges):
            raise ValueError(f"valid_ranges must be {count} pairs of low < high, one per branch; got {valid_ranges}")
        if test_branch is not None and not 0 <= test_branch < count:
            raise ValueError(f"test_branch must be 0..{count - 1}, got {test_branch}")
        self.valid_ranges, self.test_branch = ranges, test_branch

    @property
    def running(self) -> list[int]:
        """The branches that run now."""
        if self.training or self.test_branch is None:
            return list(range(self.backbone.branches))
        return [self.test_branch]

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Images [B,3,H,W] -> maps [R*B,C,h,w] of the branches that run, branch-major."""
        maps: tuple[Tensor, ...] = self.backbone(batch_inputs, self.running)
        return self.neck(maps) if self.with_neck else maps

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """mmdet's losses of both stages, over all branches."""
        losses: dict[str, Tensor] = super().loss(batch_inputs, self._per_branch(batch_data_samples))
        return losses

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Fills each sample's pred_instances: bboxes [K,4] x1 y1 x2 y2 (px), scores [K], labels [K]."""
        x = self.extract_feat(batch_inputs)
        copies = self._per_branch(batch_data_samples)
        proposals = self.rpn_head.predict(x, copies, rescale=False)
        detections = self.roi_head.predict(x, proposals, copies, rescale=rescale)
        samples: list[DetDataSample] = self.add_pred_to_datasample(batch_data_samples, detections)
        return samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> tuple[Any, ...]:
        results: tuple[Any, ...] = super()._forward(batch_inputs, self._per_branch(batch_data_samples))
        return results

    def _per_branch(self, samples: list[DetDataSample]) -> list[DetDataSample]:
        """The samples once per running branch, branch-major, each with what concerns the branch."""
        copies = []
        for branch in self.running:
            for sample in samples:
                copy = DetDataSample(metainfo={**sample.metainfo, "branch": branch})
                if self.training or self.test_branch is None:
                    copy.set_metainfo({"valid_range": self.valid_ranges[branch]})
                if self.training:
                    _divide_objects(sample, copy)
                copies.append(copy)
        return copies


def _divide_objects(sample: DetDataSample, copy: DetDataSample) -> None:
    """Give the copy the sample's objects in its range as ground truth, and the others as ignored, out of range."""
    objects = sample.gt_instances
    valid = in_range(objects.bboxes, copy.metainfo)
    copy.gt_instances = objects[valid]
    others = objects[~valid]
    ignored = sample.get("ignored_instances")
    boxes, labels = [others.bboxes], [others.labels]
    if ignored is not None and "bboxes" in ignored:
        boxes, labels = [*boxes, ignored.bboxes], [*labels, ignored.labels]
    out_of_range = torch.arange(sum(map(len, boxes)), device=valid.device) < len(others)
    copy.ignored_instances = InstanceData(bboxes=torch.cat(boxes), labels=torch.cat(labels), out_of_range=out_of_range)
