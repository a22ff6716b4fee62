"""Projected polygons into a depth-tested picture of polygon numbers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.datasets.synthetic.geometry import PolygonSet, SpriteSet

NEAR_M = 0.15
SHIFT = 3  # fractional bits of fixed-point pixel coordinates
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in px, the last two exclusive


@dataclass(frozen=True)
class Projected:
    """Visible polygons of one camera, in the camera frame (x right, y down, z forward)."""

    index: np.ndarray  # [Q] rows of the PolygonSet
    corners: np.ndarray  # [Q,8,3] m
    plane: np.ndarray  # [Q,3] 1/depth = plane . (u, v, 1)
    depth: np.ndarray  # [Q] of the middle, m
    facing: np.ndarray  # [Q] cosine between the normal and the view


class ZBuffer:
    """Nearest polygon of every pixel. Face 0 is the background; face numbers are the caller's."""

    def __init__(self, width: int, height: int) -> None:
        self.inverse_depth = np.zeros((height, width), dtype=np.float32)
        self.face = np.zeros((height, width), dtype=np.int32)
        self._mask = np.zeros((height, width), dtype=np.uint8)
        self._alone = np.zeros((height, width), dtype=np.uint8)
        self._u = np.arange(width, dtype=np.float32)
        self._v = np.arange(height, dtype=np.float32)[:, None]
        self._touched: Box | None = None

    def polygon(self, points: np.ndarray, box: Box, plane: np.ndarray, nearest: float, face: int) -> None:
        """Draw a convex polygon of fixed-point corners [n,2] inside a box of pixels, where it is the nearest.

        `plane` gives 1/depth from (u, v, 1), which never exceeds `nearest`: a polygon seen edge-on would otherwise leap
        forward in the fraction of a pixel that it is drawn too wide.
        """
        x0, y0, x1, y1 = box
        cv2.fillConvexPoly(self._mask, points, (1,), cv2.LINE_8, SHIFT)
        mask = self._mask[y0:y1, x0:x1]
        a, b, c = plane
        inverse = (a * self._u[x0:x1] + c) + b * self._v[y0:y1]
        np.minimum(inverse, nearest, out=inverse)
        depth = self.inverse_depth[y0:y1, x0:x1]
        nearer = inverse > depth
        nearer &= mask.view(bool)
        np.copyto(depth, inverse, where=nearer)
        np.copyto(self.face[y0:y1, x0:x1], np.int32(face), where=nearer)
        mask[:] = 0

    def sprite(self, x0: int, y0: int, size: tuple[int, int], pattern: np.ndarray, inverse: float, face: int) -> None:
        """Draw a picture of shade numbers (0: transparent) at constant depth; shade k gets face + k - 1."""
        height, width = self.face.shape
        x1, y1 = min(x0 + size[0], width), min(y0 + size[1], height)
        left, top = max(x0, 0), max(y0, 0)
        if left >= x1 or top >= y1:
            return
        scaled = cv2.resize(pattern, size, interpolation=cv2.INTER_NEAREST)[top - y0 : y1 - y0, left - x0 : x1 - x0]
        depth = self.inverse_depth[top:y1, left:x1]
        nearer = (depth < inverse) & (scaled > 0)
        depth[nearer] = inverse
        self.face[top:y1, left:x1][nearer] = scaled[nearer].astype(np.int32) + (face - 1)

    def begin_object(self) -> None:
        """Start counting the pixels that an object would cover alone."""
        self._touched = None

    def count(self, points: np.ndarray, box: Box) -> None:
        """Add a polygon, as for `polygon`, to the object being counted."""
        old = self._touched or box
        self._touched = (min(old[0], box[0]), min(old[1], box[1]), max(old[2], box[2]), max(old[3], box[3]))
        cv2.fillConvexPoly(self._alone, points, (1,), cv2.LINE_8, SHIFT)

    def end_object(self) -> int:
        """Pixels of the object counted, as if nothing stood before it."""
        if self._touched is None:
            return 0
        x0, y0, x1, y1 = self._touched
        area = self._alone[y0:y1, x0:x1]
        pixels = int(cv2.countNonZero(area))
        area[:] = 0
        return pixels


def project_polygons(
    polygons: PolygonSet, camera_from_object: np.ndarray, in_view: np.ndarray, intrinsic: np.ndarray
) -> Projected:
    """Polygons of the objects in view [N] bool that face the camera."""
    rows = np.flatnonzero(in_view[polygons.thing])
    transform = camera_from_object[polygons.thing[rows]]
    rotation, translation = transform[:, :3, :3], transform[:, :3, 3]
    normal = np.matmul(rotation, polygons.normal[rows, :, None])[..., 0]
    first = np.matmul(rotation, polygons.corners[rows, 0, :, None])[..., 0] + translation
    distance = np.einsum("qi,qi->q", normal, first)  # below 0: the camera is on the outer side
    front = distance < -1e-6
    rows, rotation, translation = rows[front], rotation[front], translation[front]
    normal, distance = normal[front], distance[front]
    corners = np.matmul(polygons.corners[rows], rotation.transpose(0, 2, 1)) + translation[:, None]
    ahead = corners[..., 2].max(axis=1) > NEAR_M
    rows, corners, normal, distance = rows[ahead], corners[ahead], normal[ahead], distance[ahead]
    coefficients = normal / distance[:, None]
    plane = coefficients @ np.linalg.inv(intrinsic)
    middle = corners.mean(axis=1)
    facing = -distance / np.maximum(np.linalg.norm(middle, axis=1), 1e-6)
    return Projected(rows, corners, plane, middle[:, 2], facing)


def clip_near(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon [n,3] at or beyond the near plane; [0,3] when none (Sutherland and Hodgman, 1974)."""
    result = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside_a, inside_b = a[2] >= NEAR_M, b[2] >= NEAR_M
        if inside_a:
            result.append(a)
        if inside_a != inside_b:
            weight = (NEAR_M - a[2]) / (b[2] - a[2])
            result.append(a + weight * (b - a))
    return np.array(result).reshape(-1, 3)


def to_pixels(corners: np.ndarray, intrinsic: np.ndarray, limit: float = 8000.0) -> np.ndarray:
    """Pixels [...,2] of points [...,3] before the camera; far outside ones are held at +-limit px."""
    pixels = corners[..., :2] / corners[..., 2:] * intrinsic[[0, 1], [0, 1]] + intrinsic[:2, 2]
    return np.asarray(np.clip(pixels, -limit, limit))


def to_fixed(pixels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Fixed-point corners [Q,n,2] int32 and boxes [Q,4] int64 inside a picture (width, height) of polygons [Q,n,2] px.

    A box without pixels has x0 >= x1 or y0 >= y1.
    """
    limit = np.array(size)
    low = np.clip(np.floor(pixels.min(axis=1)), 0, limit).astype(np.int64)
    high = np.clip(np.floor(pixels.max(axis=1)) + 2, 0, limit).astype(np.int64)
    return np.rint(pixels * 2**SHIFT).astype(np.int32), np.concatenate([low, high], axis=1)


def visible_sprites(
    sprites: SpriteSet, camera_from_object: np.ndarray, in_view: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [S] of the sprites before the camera and their middles [S,3] in the camera frame, far to near."""
    rows = np.flatnonzero(in_view[sprites.thing])
    transform = camera_from_object[sprites.thing[rows]]
    centre = np.matmul(transform[:, :3, :3], sprites.centre[rows, :, None])[..., 0] + transform[:, :3, 3]
    ahead = centre[:, 2] > 1.0
    order = np.argsort(-centre[ahead, 2], kind="stable")
    return rows[ahead][order], centre[ahead][order]
