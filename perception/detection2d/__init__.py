"""TridentNet as a 2D detector (Li et al., ICCV 2019): mmdet's two stages with a valid range of object sizes per branch.

mmdet's own port trains every branch on every object. Here each branch sees the objects of its range, in the proposal
stage and in the second one, and reports boxes of its range; see TridentDetector.
"""

import perception.engine  # noqa: F401  (mmdet imports on mmcv-lite after this)

# isort: split
from perception.detection2d.assigner import ScaleAwareAssigner
from perception.detection2d.backbone import TridentBackbone
from perception.detection2d.coco_scores import CocoScores
from perception.detection2d.detector import TridentDetector
from perception.detection2d.roi_head import ScaleAwareRoIHead
from perception.detection2d.rpn_head import ScaleAwareRPNHead

__all__ = [
    "CocoScores",
    "ScaleAwareAssigner",
    "ScaleAwareRPNHead",
    "ScaleAwareRoIHead",
    "TridentBackbone",
    "TridentDetector",
]
