"""Where LiDAR and cameras should agree: edges in depth and edges in the image.

After Levinson and Thrun, "Automatic Online Calibration of Cameras and Lasers" (RSS 2013): an object that stands before
its background ends for both sensors at the same place.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MIN_STEP_M = 0.6
MIN_STEP_SHARE = 0.08  # of the range: grazing surfaces step too
MAX_GAP_RAD = np.radians(1.0)
MAX_RISE_RAD = np.radians(2.0)
SURFACE_M = 0.3  # neighbours nearer than this in range are one surface
RANGE_M = (3.0, 45.0)
REACH_PX = 24.0
EDGE_SHARE = 0.06  # of the pixels of an image that count as edges
# Between two beams there is no telling where an object's top is: 1.3 degrees are 13 px at 10 m and beyond the reach of
# the score. A top is therefore as many points, evenly spread over what the beams leave open.
TOP_POINTS = 5


@dataclass(frozen=True)
class DepthEdges:
    """Points at the border of near objects, float64 (m, LiDAR frame).

    side: [S,3] where the next ray to the left or right goes past, half way to it.
    top: [TOP_POINTS*T,3] where the next beam above goes past, spread over what lies between.
    """

    side: np.ndarray
    top: np.ndarray


def depth_edges(points: np.ndarray) -> DepthEdges:
    """The depth edges of one sweep; points [P,5]: x y z (m), intensity, ring."""
    xyz, ring = points[:, :3].astype(np.float64), points[:, 4].astype(np.int64)
    distance = np.linalg.norm(xyz, axis=1)
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    order = np.lexsort((azimuth, ring))
    xyz, ring, distance, azimuth = xyz[order], ring[order], distance[order], azimuth[order]
    sides = [_side_edges(xyz, ring, distance, azimuth, step) for step in (1, -1)]
    return DepthEdges(np.concatenate(sides), _top_edges(xyz, ring, distance, azimuth))


def _is_step(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    return (far - near > np.maximum(MIN_STEP_M, MIN_STEP_SHARE * near)) & (near > RANGE_M[0]) & (near < RANGE_M[1])


def _side_edges(xyz: np.ndarray, ring: np.ndarray, distance: np.ndarray, azimuth: np.ndarray, step: int) -> np.ndarray:
    """Points whose next neighbour of the same ring on one side is much farther, turned half way to it."""
    nearer = np.arange(len(xyz))
    turn = np.roll(azimuth, -step) - azimuth
    beside = (np.roll(ring, -step) == ring) & (np.abs(turn) < MAX_GAP_RAD)
    # The neighbour on the other side lies on the object too: a lone return is a leaf or a drop of rain.
    solid = (np.roll(ring, step) == ring) & (np.abs(np.roll(distance, step) - distance) < SURFACE_M)
    edge = nearer[beside & solid & _is_step(distance, np.roll(distance, -step))]
    half = turn[edge] / 2
    cos, sin = np.cos(half), np.sin(half)
    x, y, z = xyz[edge].T
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)


def _top_edges(xyz: np.ndarray, ring: np.ndarray, distance: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Points on an upright surface over which the next beam goes past, each raised by several shares of the way."""
    rings = np.unique(ring)
    starts = np.searchsorted(ring, [*rings, np.inf])
    elevation = np.arcsin(np.clip(xyz[:, 2] / np.maximum(distance, 1e-6), -1, 1))
    found = [np.zeros((0, 3))]
    shares = (np.arange(TOP_POINTS) + 0.5) / TOP_POINTS
    for k in range(1, len(rings) - 1):
        rows = np.arange(starts[k], starts[k + 1])
        under, _ = _nearest(azimuth, slice(starts[k - 1], starts[k]), azimuth[rows])
        above, apart = _nearest(azimuth, slice(starts[k + 1], starts[k + 2]), azimuth[rows])
        rise = elevation[above] - elevation[rows]
        # On the road, too, the next beam goes farther; only a wall has the beam below at its own distance.
        upright = np.abs(distance[under] - distance[rows]) < SURFACE_M
        step = _is_step(distance[rows], distance[above])
        edge = np.flatnonzero((apart < MAX_GAP_RAD / 2) & (rise > 0) & (rise < MAX_RISE_RAD) & upright & step)
        up = (elevation[rows][edge] + shares[:, None] * rise[edge]).ravel()
        turn, far = np.tile(azimuth[rows][edge], TOP_POINTS), np.tile(distance[rows][edge], TOP_POINTS)
        found.append(
            np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)], axis=1) * far[:, None]
        )
    return np.concatenate(found)


def _nearest(azimuth: np.ndarray, ring: slice, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of a ring (sorted by azimuth) that is nearest to each wanted azimuth, and how far off it is (rad)."""
    place = np.clip(np.searchsorted(azimuth[ring], wanted), 1, max(ring.stop - ring.start - 1, 1)) + ring.start
    place = np.minimum(place, ring.stop - 1)
    before = np.maximum(place - 1, ring.start)
    place = np.where(np.abs(azimuth[before] - wanted) < np.abs(azimuth[place] - wanted), before, place)
    return place, np.abs(azimuth[place] - wanted)


def edge_distance(image: np.ndarray) -> np.ndarray:
    """Distance (px, at most REACH_PX) of every pixel to the nearest upright and to the nearest level edge: [2,H,W]
    uint8 in quarters of a pixel; image RGB [H,W,3] uint8."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    gradients = [cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)]
    maps = []
    for axis, gradient in enumerate(gradients):
        strength = np.abs(gradient)
        # Local contrast counts, not lamps against a dark street: every part of the image has its edges.
        strength = strength / (cv2.blur(strength, (61, 61)) + 4.0)
        along = np.roll(strength, 1, axis=1 - axis), np.roll(strength, -1, axis=1 - axis)
        ridge = (strength >= along[0]) & (strength > along[1])
        ridge &= strength > max(np.quantile(strength[ridge], 1 - EDGE_SHARE / max(ridge.mean(), EDGE_SHARE)), 1e-3)
        distance = cv2.distanceTransform((~ridge).astype(np.uint8), cv2.DIST_L2, 5)
        maps.append(np.minimum(distance, REACH_PX) * 4)
    return np.stack(maps).astype(np.uint8)
