"""The pinhole camera: from LiDAR points to pixels and back.

Integer pixel coordinates are pixel centres, as in OpenCV: the image covers [-0.5, W - 0.5) x [-0.5, H - 0.5).
`image_from_lidar` [4,4] maps (x, y, z, 1) to (u * depth, v * depth, depth, 1), depth in metres along the optical axis.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from perception.geometry.transforms import Array, ArrayOrTensor, transform_points

# Depths below this (m) are at or behind the lens; pixels of such points mean nothing.
MIN_DEPTH_M = 1e-3


def homogeneous_intrinsics(intrinsics: Array) -> Array:
    """Intrinsics [3,3] (or [3,4], [4,4] as some info files hold them) in px as a [4,4] float64 matrix.

    Raises ValueError for another shape or numbers that are not finite.
    """
    k = np.asarray(intrinsics, dtype=np.float64)
    if k.shape not in ((3, 3), (3, 4), (4, 4)) or not np.isfinite(k).all():
        raise ValueError(f"intrinsics need a 3x3 matrix of finite numbers, got shape {k.shape}")
    matrix = np.eye(4)
    matrix[: k.shape[0], : k.shape[1]] = k
    return matrix


def image_affine(affine: Array) -> Array:
    """A change of pixels [2,3] ((u, v) -> A (u, v) + t, as cv2.warpAffine takes it) as an `image_aug` [4,4].

    The shift stands in column 2, because it acts on (u * depth, v * depth, depth, 1).
    """
    matrix = np.eye(4)
    matrix[:2, :3] = affine
    return matrix


def compose_image_from_lidar(
    camera_from_lidar: Array, intrinsics: Array, image_aug: Array | None = None, lidar_aug: Array | None = None
) -> Array:
    """image_aug @ intrinsics @ camera_from_lidar @ inv(lidar_aug), [4,4] float64.

    Args:
        camera_from_lidar: [4,4] at the two sensors' own times, ego-motion included.
        intrinsics: [3,3] or [4,4], px.
        image_aug: [4,4], pixels of the recorded image -> pixels of the augmented one (`image_affine`).
        lidar_aug: [4,4], recorded LiDAR frame -> augmented LiDAR frame; need not be rigid (scale, flip).
    """
    matrix: Array = homogeneous_intrinsics(intrinsics) @ np.asarray(camera_from_lidar, dtype=np.float64)
    if image_aug is not None:
        matrix = np.asarray(image_aug, dtype=np.float64) @ matrix
    if lidar_aug is not None:
        matrix = matrix @ np.linalg.inv(lidar_aug)
    return matrix


def focal_lengths(image_from_lidar: Tensor) -> Tensor:
    """Focal lengths [...,2] float64 (along u, along v, px) of matrices [...,4,4], for the images as they are: resizing
    changes them, a turn of the image or a scaled, mirrored LiDAR frame does not.
    """
    matrix = image_from_lidar[..., :3, :3].double()
    axis = matrix[..., 2:, :]
    across = torch.linalg.cross(matrix[..., :2, :], axis.expand_as(matrix[..., :2, :]), dim=-1)
    return torch.linalg.vector_norm(across, dim=-1) / (axis * axis).sum(dim=-1)


def project(image_from_lidar: ArrayOrTensor, points: ArrayOrTensor) -> tuple[ArrayOrTensor, ArrayOrTensor]:
    """Pixels [...,P,2] (u, v) and depths [...,P] (m) of LiDAR points [...,P,3].

    Depths are negative behind the camera; the pixels of points nearer than MIN_DEPTH_M are finite but mean nothing.
    """
    scaled = transform_points(image_from_lidar, points)
    depth = scaled[..., 2]
    if isinstance(scaled, Tensor):
        return scaled[..., :2] / depth.clamp(min=MIN_DEPTH_M)[..., None], depth
    return cast(ArrayOrTensor, scaled[..., :2] / np.maximum(depth, MIN_DEPTH_M)[..., None]), depth


def unproject(lidar_from_image: ArrayOrTensor, pixels: ArrayOrTensor, depth: ArrayOrTensor) -> ArrayOrTensor:
    """LiDAR points [...,P,3] (m) of pixels [...,P,2] at depths [...,P] (m), by inv(image_from_lidar)."""
    if isinstance(pixels, Tensor):
        scaled = torch.cat([pixels * depth[..., None], depth[..., None]], -1)
        return transform_points(lidar_from_image, scaled)
    return transform_points(lidar_from_image, np.concatenate([pixels * depth[..., None], depth[..., None]], -1))


def in_image(pixels: ArrayOrTensor, depth: ArrayOrTensor, image_hw: tuple[int, int]) -> ArrayOrTensor:
    """Which pixels [...,P,2] with depths [...,P] lie in front of the camera and on the image: [...,P] bool."""
    height, width = image_hw
    u, v = pixels[..., 0], pixels[..., 1]
    on_image = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    return cast(ArrayOrTensor, on_image & (depth > MIN_DEPTH_M))


def pixel_centres(feature_hw: tuple[int, int], stride: int, device: torch.device | str | None = None) -> Tensor:
    """Image coordinates [h,w,2] float32 (u, v, px) of the centres of feature cells of `stride` x `stride` pixels."""
    rows, columns = feature_hw
    u = torch.arange(columns, device=device, dtype=torch.float32) * stride + (stride - 1) / 2
    v = torch.arange(rows, device=device, dtype=torch.float32) * stride + (stride - 1) / 2
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)
