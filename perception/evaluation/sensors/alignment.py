"""How a camera would have to turn or move for the LiDAR's edges to fall on its own.

The objective is Levinson and Thrun's (RSS 2013): how close depth edges come to image edges, summed over frames. They
ask whether a calibration is a local optimum; here the optimum itself is sought, for a turn or for a move, and how far
it lies from the calibration is compared with how much it varies between groups of frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perception.evaluation.sensors.edges import REACH_PX, TOP_POINTS

GROUPS = 6
WEIGHT = np.array([1.0, 1.0 / TOP_POINTS])  # of a point by its kind: all points of a top count as one edge
_COARSE_POINTS = 4000
_COARSE_RAD = np.radians(np.arange(-2.4, 2.41, 0.3))
_WIDE_PX, _NARROW_PX = 6.0, 2.5
_TURN_STEP_RAD, _MOVE_STEP_M = float(np.radians(0.2)), 0.04

Score = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class EdgeSet:
    """The edges of one camera over F frames.

    distance: [F,2,H,W] uint8 of `edge_distance`; intrinsics: [F,3,3] for these maps' pixels
    points: [E,3] (m, camera frame); frame: [E] int64; kind: [E] 0 for sides, 1 for tops
    """

    distance: np.ndarray
    intrinsics: np.ndarray
    points: np.ndarray
    frame: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        """Edges, in each of which all points of a top are one."""
        return round(float(WEIGHT[self.kind].sum()))


@dataclass(frozen=True)
class Correction:
    """What would bring the edges together: turn [3] (rad, about x right, y down, z forward of the camera) or move [3]
    (m, along them), their spread between groups of frames [3] each, the score without and with each, edges used."""

    turn: np.ndarray
    turn_spread: np.ndarray
    move: np.ndarray
    move_spread: np.ndarray
    score: float
    score_turned: float
    score_moved: float
    edges: int
    frames: int


def edge_score(edges: EdgeSet, turn: np.ndarray, move: np.ndarray, reach_px: float, rows: np.ndarray) -> float:
    """Mean of exp(-distance to the nearest image edge / reach) over chosen edge points, turned and moved."""
    points = edges.points[rows] @ turn_matrix(turn).T + move
    frame, kind = edges.frame[rows], edges.kind[rows]
    matrix = edges.intrinsics[frame]
    depth = np.maximum(points[:, 2], 0.1)
    u = matrix[:, 0, 0] * points[:, 0] / depth + matrix[:, 0, 2]
    v = matrix[:, 1, 1] * points[:, 1] / depth + matrix[:, 1, 2]
    height, width = edges.distance.shape[2:]
    inside = (u >= 0) & (v >= 0) & (u < width - 1) & (v < height - 1) & (points[:, 2] > 0.5)
    u, v = np.where(inside, u, 0.0), np.where(inside, v, 0.0)
    column, row = u.astype(np.int64), v.astype(np.int64)
    du, dv = u - column, v - row
    flat, size = edges.distance.reshape(-1), height * width
    at = (frame * 2 + kind) * size + row * width + column
    distance = (
        flat[at] * (1 - du) * (1 - dv)
        + flat[at + 1] * du * (1 - dv)
        + flat[at + width] * (1 - du) * dv
        + flat[at + width + 1] * du * dv
    ) / 4
    return float(np.average(np.exp(-np.where(inside, distance, REACH_PX) / reach_px), weights=WEIGHT[kind]))


def find_correction(edges: EdgeSet) -> Correction:
    """The turn and the move that bring the edges together best, each alone: over usual depths one looks like the
    other."""
    everything = np.arange(len(edges.points))
    still = np.zeros(3)
    turn = _coarse_turn(edges, everything[:: max(1, len(everything) // _COARSE_POINTS)])
    start = edge_score(edges, still, still, _NARROW_PX, everything)

    def turned_score(rows: np.ndarray) -> Score:
        return lambda turn: edge_score(edges, turn, still, _NARROW_PX, rows)

    def moved_score(rows: np.ndarray) -> Score:
        return lambda move: edge_score(edges, still, move, _NARROW_PX, rows)

    turn, turned = _climb(turned_score(everything), turn, _TURN_STEP_RAD)
    move, moved = _climb(moved_score(everything), still, _MOVE_STEP_M)
    frames = np.unique(edges.frame)
    parts = [np.flatnonzero(np.isin(edges.frame, part)) for part in np.array_split(frames, min(GROUPS, len(frames)))]
    turns = [_climb(turned_score(rows), turn, _TURN_STEP_RAD)[0] for rows in parts]
    moves = [_climb(moved_score(rows), move, _MOVE_STEP_M)[0] for rows in parts]
    return Correction(turn, _spread(turns), move, _spread(moves), start, turned, moved, len(edges), len(frames))


def _spread(values: Sequence[np.ndarray]) -> np.ndarray:
    """Standard error of the mean of groups; infinite for a single one."""
    if len(values) < 2:
        return np.full(3, np.inf)
    return np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def _coarse_turn(edges: EdgeSet, rows: np.ndarray) -> np.ndarray:
    """The best of a grid of turns about x and y: the narrow score has other hills than the true one."""
    still = np.zeros(3)
    grid = [np.array([x, y, 0.0]) for x in _COARSE_RAD for y in _COARSE_RAD]
    scores = [edge_score(edges, turn, still, _WIDE_PX, rows) for turn in grid]
    return grid[int(np.argmax(scores))]


def _climb(score: Score, start: np.ndarray, step: float) -> tuple[np.ndarray, float]:
    """Coordinate search: the best of a step either way along each axis, halved when none helps, down to 1/16."""
    best, height = start.copy(), score(start)
    smallest = step / 16
    while step >= smallest:
        improved = False
        for axis in range(3):
            for sign in (1.0, -1.0):
                candidate = best.copy()
                candidate[axis] += sign * step
                if (value := score(candidate)) > height:
                    best, height, improved = candidate, value, True
        if not improved:
            step /= 2
    return best, height


def turn_matrix(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix [3,3] of a small turn [3] (axis times angle, Rodrigues)."""
    angle = float(np.linalg.norm(turn))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = turn / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
