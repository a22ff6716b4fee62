"""All shapes of a scene as arrays, so that a sensor meets them in a few vector operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.shapes import PRISM_SIDES, Shape

MAX_CORNERS = 8


@dataclass(frozen=True)
class SolidSet:
    """K convex solids with the same numbers of vertices and faces."""

    vertices: np.ndarray  # [K,V,3] object frame, m
    planes: np.ndarray  # [K,F,4] outward normal and offset: inside is normal . x <= offset
    thing: np.ndarray  # [K] index of the object
    material: np.ndarray  # [K]


@dataclass(frozen=True)
class PolygonSet:
    """Q polygons."""

    corners: np.ndarray  # [Q,8,3] object frame, m; the last corner repeats
    count: np.ndarray  # [Q] number of corners
    normal: np.ndarray  # [Q,3] outward, object frame
    thing: np.ndarray  # [Q]
    colour: np.ndarray  # [Q,3] BGR
    finish: np.ndarray  # [Q]
    layer: np.ndarray  # [Q]
    texture: np.ndarray  # [Q]
    label: np.ndarray  # [Q]


@dataclass(frozen=True)
class SpriteSet:
    """S camera-facing discs."""

    centre: np.ndarray  # [S,3]
    size: np.ndarray  # [S,2] width, height, m
    colour: np.ndarray  # [S,3]
    pattern: np.ndarray  # [S]
    thing: np.ndarray  # [S]
    label: np.ndarray  # [S]


@dataclass(frozen=True)
class Geometry:
    """Every object of a scene: N shapes, index = object."""

    hexahedra: SolidSet
    prisms: SolidSet
    polygons: PolygonSet
    sprites: SpriteSet
    radius: np.ndarray  # [N] of a sphere about (0, 0, height / 2), m
    height: np.ndarray  # [N] m


def compile_geometry(shapes: list[Shape]) -> Geometry:
    """Arrays of a list of shapes."""
    radius, height = [], []
    for shape in shapes:
        points = [p.corners for p in shape.polygons] + [s.vertices for s in shape.solids]
        points += [
            s.centre[None] + np.array([[s.width / 2, 0, s.height / 2]]) * k for s in shape.sprites for k in (-1, 1)
        ]
        stacked = np.concatenate(points)
        top = float(stacked[:, 2].max())
        height.append(top)
        radius.append(float(np.linalg.norm(stacked - [0, 0, top / 2], axis=1).max()))
    return Geometry(
        _solids(shapes, 8, 6),
        _solids(shapes, 2 * PRISM_SIDES, PRISM_SIDES + 2),
        _polygons(shapes),
        _sprites(shapes),
        np.array(radius),
        np.array(height),
    )


def face_planes(vertices: np.ndarray, faces: list[tuple[int, ...]]) -> np.ndarray:
    """Planes [F,4] (outward unit normal, offset) of a convex body's faces."""
    a, b, c, d = (vertices[[face[k] for face in faces]] for k in (0, 1, 2, -1))
    normal = np.cross(b - a, d - a)
    # An edge that shrank to a point: use the diagonal.
    normal = np.where(np.linalg.norm(normal, axis=1, keepdims=True) < 1e-12, np.cross(c - a, d - a), normal)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.concatenate([normal, (normal * a).sum(axis=1, keepdims=True)], axis=1)


def _solids(shapes: list[Shape], num_vertices: int, num_faces: int) -> SolidSet:
    rows = [(i, s) for i, shape in enumerate(shapes) for s in shape.solids if len(s.vertices) == num_vertices]
    return SolidSet(
        np.array([s.vertices for _, s in rows]).reshape(-1, num_vertices, 3),
        np.array([face_planes(s.vertices, s.faces) for _, s in rows]).reshape(-1, num_faces, 4),
        np.array([i for i, _ in rows], dtype=np.int64),
        np.array([s.material for _, s in rows], dtype=np.int64),
    )


def _polygons(shapes: list[Shape]) -> PolygonSet:
    rows = [(i, p) for i, shape in enumerate(shapes) for p in shape.polygons]
    corners = np.array(
        [np.concatenate([p.corners, np.repeat(p.corners[-1:], MAX_CORNERS - len(p.corners), 0)]) for _, p in rows]
    )
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = np.linalg.norm(normal, axis=1) < 1e-12
    normal[flat] = np.cross(corners[flat, 2] - corners[flat, 0], corners[flat, 3] - corners[flat, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return PolygonSet(
        corners,
        np.array([len(p.corners) for _, p in rows]),
        normal,
        np.array([i for i, _ in rows]),
        np.array([p.colour for _, p in rows], dtype=np.float64),
        np.array([p.finish for _, p in rows]),
        np.array([p.layer for _, p in rows]),
        np.array([p.texture for _, p in rows]),
        np.array([p.label for _, p in rows]),
    )


def _sprites(shapes: list[Shape]) -> SpriteSet:
    rows = [(i, shape, s) for i, shape in enumerate(shapes) for s in shape.sprites]
    return SpriteSet(
        np.array([s.centre for _, _, s in rows]).reshape(-1, 3),
        np.array([(s.width, s.height) for _, _, s in rows]).reshape(-1, 2),
        np.array([s.colour for _, _, s in rows], dtype=np.float64).reshape(-1, 3),
        np.array([s.pattern for _, _, s in rows], dtype=np.int64),
        np.array([i for i, _, _ in rows], dtype=np.int64),
        np.array([shape.label for _, shape, _ in rows], dtype=np.int64),
    )
