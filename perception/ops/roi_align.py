"""RoIAlign (He et al., Mask R-CNN, ICCV 2017), averages, with the semantics of torchvision and mmcv."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def roi_align(
    features: Tensor,  # [N,C,H,W] float16, bfloat16, float32 or float64
    rois: Tensor,  # [R,5]: index into N, then x1 y1 x2 y2 in units of 1 / spatial_scale cells
    output_size: tuple[int, int],  # h w
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:  # [R,C,h,w] like features, channels-last in memory
    """The mean of bilinear samples in each of h x w bins of every region. Differentiable in features.

    Args:
        sampling_ratio: samples per bin along each axis; 0 for as many as the bin is long in cells.
        aligned: pixel centres are at half-integers, and regions may be smaller than a cell. False is the older
            convention, off by half a cell.

    Raises:
        ValueError: shapes or devices disagree, or a region is not finite or names an image that is not there (on the
            GPU such a region reads zeros, for a check would wait for the device).
    """
    precise = torch.float64 if features.dtype == torch.float64 else torch.float32
    out: Tensor = torch.ops.perception.roi_align(
        features, rois.to(precise), *output_size, spatial_scale, sampling_ratio, aligned
    )
    return out


@torch.library.register_fake("perception::roi_align")
def _(
    features: Tensor, rois: Tensor, height: int, width: int, spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    shape = (rois.shape[0], features.shape[1], height, width)
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last)


@torch.library.register_fake("perception::roi_align_backward")
def _(
    grad: Tensor, rois: Tensor, features_shape: list[int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    return torch.empty(features_shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, _, _, *ctx.options = inputs
    ctx.features_shape = features.shape
    ctx.save_for_backward(rois)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (rois,) = ctx.saved_tensors
    return torch.ops.perception.roi_align_backward(grad, rois, ctx.features_shape, *ctx.options), *[None] * 6


torch.library.register_autograd("perception::roi_align", _backward, setup_context=_setup_context)
