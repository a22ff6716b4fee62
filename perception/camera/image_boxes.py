"""3D boxes in the pictures: the rectangle that each box covers in each camera, and the depth at which rays meet it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from perception.geometry.boxes import box_corners
from perception.geometry.camera import MIN_DEPTH_M, pixel_centres
from perception.geometry.precision import without_autocast

# Corners of `box_corners` that an edge joins: the front face, the back face, and what is between them.
_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
)  # fmt: skip
# A box that reaches behind the lens is cut off here (m): nearer than any road user comes to a camera.
NEAR_PLANE_M = 0.1


class ImageBoxes(NamedTuple):
    """K boxes in the N cameras of their samples.

    Attributes:
        rectangle: [K,N,4] float32, left, top, right, bottom (px), cut off at the picture's border.
        depth: [K,N] float32, of the box's centre, m.
        seen: [K,N] bool, where any of the box is in the picture; elsewhere the rectangle means nothing.
    """

    rectangle: Tensor
    depth: Tensor
    seen: Tensor


@torch.no_grad()
@without_autocast
def image_boxes(
    boxes: Tensor,  # [K,7 or more] float32, LiDAR frame
    sample: Tensor,  # [K] int64
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    image_hw: tuple[int, int],
) -> ImageBoxes:
    """Project every box into the cameras of its sample.

    The rectangle holds the whole box as far as it is in the picture: a 3D box does not say what stands before it.
    """
    matrix = image_from_lidar[sample]  # [K,N,4,4]
    centre = torch.einsum("knij,kj->kni", matrix[:, :, :3, :3], boxes[:, :3]) + matrix[:, :, :3, 3]
    corners = torch.einsum("knij,kcj->knci", matrix[:, :, :3, :3], box_corners(boxes)) + matrix[:, :, None, :3, 3]
    start, end = (corners[:, :, list(ends)] for ends in zip(*_EDGES, strict=True))
    # Where an edge crosses the near plane it has one more corner.
    d0, d1 = start[..., 2], end[..., 2]
    crossing = (d0 < NEAR_PLANE_M) != (d1 < NEAR_PLANE_M)
    share = (NEAR_PLANE_M - d0) / torch.where(crossing, d1 - d0, 1.0)
    cut = start + share[..., None] * (end - start)
    candidates = torch.cat((corners, cut), dim=2)
    real = torch.cat((corners[..., 2] >= NEAR_PLANE_M, crossing), dim=2)[..., None]
    pixels = candidates[..., :2] / candidates[..., 2:].clamp(min=NEAR_PLANE_M)
    height, width = image_hw
    low, high = pixels.new_tensor([-0.5, -0.5]), pixels.new_tensor([width - 0.5, height - 0.5])
    top_left = torch.where(real, pixels, torch.inf).amin(dim=2).clamp(min=low)
    bottom_right = torch.where(real, pixels, -torch.inf).amax(dim=2).clamp(max=high)
    seen = (bottom_right > top_left).all(dim=-1) & camera_mask[sample]
    return ImageBoxes(torch.cat((top_left, bottom_right), dim=-1), centre[..., 2], seen)


@torch.no_grad()
@without_autocast
def box_depths(
    boxes: Tensor,  # [K,7 or more] float32, LiDAR frame
    sample: Tensor,  # [K] int64
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    feature_hw: tuple[int, int],
    stride: int,
) -> Tensor:  # [B,N,h,w] float32
    """Depth (m) at which the ray through each feature cell's centre enters the nearest box; infinity where it meets
    none.

    A box that the camera stands in has no face that could be seen.
    """
    batch, cameras = camera_mask.shape
    height, width = feature_hw
    image_hw = (height * stride, width * stride)
    box, camera = image_boxes(boxes, sample, image_from_lidar, camera_mask, image_hw).seen.nonzero().unbind(1)
    view, boxes = sample[box] * cameras + camera, boxes[box]

    identity = torch.eye(4, device=boxes.device, dtype=torch.float64)
    matrix = torch.where(camera_mask[..., None, None], image_from_lidar.double(), identity).flatten(0, 1)
    lidar_from_rays = torch.linalg.inv(matrix[:, :3, :3])
    eye = -(lidar_from_rays @ matrix[:, :3, 3:]).squeeze(-1).float()
    # A point of depth d on the ray of pixel (u, v) is eye + d * lidar_from_rays (u, v, 1); both in the box's own axes.
    cos, sin, none = boxes[:, 6].cos(), boxes[:, 6].sin(), torch.zeros_like(boxes[:, 6])
    own_axes = torch.stack((cos, sin, none, -sin, cos, none, none, none, none + 1), dim=-1).view(-1, 3, 3)
    start = (own_axes @ (eye[view] - boxes[:, :3])[..., None]).squeeze(-1)
    pixels = pixel_centres(feature_hw, stride, boxes.device).view(-1, 2)
    rays = torch.cat((pixels, torch.ones_like(pixels[:, :1])), dim=1)
    direction = own_axes @ lidar_from_rays.float()[view] @ rays.T  # [pairs,3,h*w]
    direction = torch.where(direction.abs() < 1e-9, 1e-9, direction)

    # Slabs (Kay & Kajiya, SIGGRAPH 1986): inside the box between the last entry and the first exit of the three.
    half = boxes[:, 3:6] / 2
    low, high = ((side - start)[..., None] / direction for side in (-half, half))
    entry, leave = torch.minimum(low, high).amax(dim=1), torch.maximum(low, high).amin(dim=1)
    depth = torch.where((entry < leave) & (entry > MIN_DEPTH_M), entry, torch.inf)
    nearest = torch.full((batch * cameras, height * width), torch.inf, device=boxes.device)
    nearest.scatter_reduce_(0, view[:, None].expand_as(depth), depth, "amin")
    return nearest.view(batch, cameras, height, width)
