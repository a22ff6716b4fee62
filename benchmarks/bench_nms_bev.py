"""nms_bev of 1,000 boxes in clusters, against mmdet3d's rotated IoU in a greedy pass; circle NMS against mmdet3d's.

mmdet3d 1.4.0 has no rotated NMS of its own that runs on a CPU: `mmdet3d.models.layers.nms_bev` calls mmcv's compiled
extension. What it has is the rotated IoU of its KITTI evaluation
(`mmdet3d/evaluation/functional/kitti_utils/rotate_iou.py`), numba code for the GPU. Here the same source is compiled by
numba for the CPU, and a greedy pass, compiled too, asks it only about boxes that are still alive. Its circle NMS
(`mmdet3d.models.layers.circle_nms`) is numba for the CPU as it stands. Floor: boxes, scores and kept indices at copy
bandwidth.
"""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from unittest import mock

import numba
import numpy as np
import torch
from gpu_cases import random_boxes
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.mmcv_ops import install
from perception.ops.nms_bev import circle_nms, nms_bev

BOXES, IOU_THRESHOLD, RADIUS_M = 1000, 0.2, 1.5


def cuda_names_on_cpu() -> types.ModuleType:
    """What rotate_iou.py uses of numba.cuda, for the CPU: device functions are compiled, kernels are left alone."""

    def jit(*signature: object, device: bool = False, **options: object) -> Callable[..., object]:
        return numba.njit if device else lambda kernel: kernel

    cuda, local = types.ModuleType("cuda"), types.ModuleType("local")
    local.array = numba.njit(lambda shape, dtype: np.empty(shape, dtype))
    cuda.jit, cuda.local = jit, local
    return cuda


def mmdet3d_rotated_nms() -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
    """Greedy suppression of boxes [K,5] in an order [K] with mmdet3d's rotated IoU (yaw clockwise)."""
    found = importlib.util.find_spec("mmdet3d.evaluation.functional.kitti_utils")
    spec = importlib.util.spec_from_file_location("rotate_iou", found.submodule_search_locations[0] + "/rotate_iou.py")
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(numba, "cuda", cuda_names_on_cpu(), create=True):
        spec.loader.exec_module(module)
    iou = module.devRotateIoUEval

    @numba.njit
    def suppress(boxes: np.ndarray, order: np.ndarray, threshold: float) -> np.ndarray:
        alive = np.ones(len(order), dtype=np.bool_)
        for i in range(len(order)):
            if alive[i]:
                for j in range(i + 1, len(order)):
                    if alive[j] and iou(boxes[order[i]], boxes[order[j]], -1) > threshold:
                        alive[j] = False
        return order[alive]

    return suppress


def main() -> None:
    install()
    from mmdet3d.models.layers import circle_nms as mmdet3d_circle_nms

    boxes = random_boxes(BOXES, "cpu")
    scores = torch.rand(BOXES, generator=torch.Generator().manual_seed(1))
    clockwise = (boxes * torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0])).numpy()
    suppress = mmdet3d_rotated_nms()

    def rotated() -> Tensor:
        order = torch.argsort(scores, descending=True, stable=True).numpy()
        return torch.from_numpy(suppress(clockwise, order, IOU_THRESHOLD))

    def circles() -> Tensor:
        rows = torch.cat((boxes[:, :2], scores[:, None]), dim=1).numpy()
        return torch.tensor(mmdet3d_circle_nms(rows, RADIUS_M**2, post_max_size=BOXES))

    bandwidth = copy_bandwidth()
    kept = nms_bev(boxes, scores, IOU_THRESHOLD)
    if not torch.equal(kept, rotated()):
        raise RuntimeError("mmdet3d's rotated IoU keeps other boxes")
    compare(
        "nms_bev (rotated)",
        lambda: nms_bev(boxes, scores, IOU_THRESHOLD),
        rotated,
        "mmdet3d rotate_iou, numba on the CPU",
        1e3 * bytes_of(boxes, scores, kept) / bandwidth,
    )
    centres = boxes[:, :2].contiguous()
    kept = circle_nms(centres, scores, RADIUS_M)
    if not torch.equal(kept, circles()):
        raise RuntimeError("mmdet3d's circle_nms keeps other centres")
    compare(
        "nms_bev (circle)",
        lambda: circle_nms(centres, scores, RADIUS_M),
        circles,
        "mmdet3d circle_nms",
        1e3 * bytes_of(centres, scores, kept) / bandwidth,
    )


if __name__ == "__main__":
    main()
