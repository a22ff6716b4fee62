"""The scale of a box and the range of scales that a branch answers for.

A box's scale is sqrt(width * height) in pixels of the recorded image, whatever size the network sees it at (the
official configs' `valid_ranges_on_origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

EVERY_SCALE = (0.0, float("inf"))


def box_scale(boxes: Tensor, img_meta: Mapping[str, Any]) -> Tensor:
    """Scales [...] (px of the recorded image) of boxes [...,4] x1 y1 x2 y2 in the network's image.

    `img_meta` holds mmdet's `scale_factor`, (horizontal, vertical); without one the image was not resized.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    horizontal, vertical = img_meta.get("scale_factor", (1.0, 1.0))[:2]
    scale: Tensor = (size[..., 0] * size[..., 1] / (horizontal * vertical)).sqrt()
    return scale


def in_range(boxes: Tensor, img_meta: Mapping[str, Any]) -> Tensor:
    """Which boxes [...,4] of the network's image lie in the `valid_range` (px, both ends included) of a branch."""
    low, high = img_meta["valid_range"]
    scale = box_scale(boxes, img_meta)
    return (scale >= low) & (scale <= high)
