"""Vehicles that follow one another along lanes (the intelligent driver model)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.road import Road

_ACCELERATION = 1.6  # m/s2
_BRAKING = 2.2  # m/s2, comfortable
_HEADWAY_S = 1.3
_GAP_M = 2.2


@dataclass(frozen=True)
class Lane:
    """A lane of a road: its offset, its direction, and where traffic must wait (travelled metres), if it must."""

    road: Road
    offset: float
    direction: int
    stop: float | None = None

    def pose(self, travelled: np.ndarray | float) -> np.ndarray:
        """Poses [...,4] after a travelled distance (m) from the lane's beginning."""
        s = np.asarray(travelled, dtype=np.float64)
        return self.road.pose(s if self.direction > 0 else self.road.length - s, self.offset, self.direction)


def simulate_lane(
    start: np.ndarray,
    length: np.ndarray,
    desired_mps: np.ndarray,
    stop: float | None,
    num_steps: int,
    step_s: float,
    warm_up_s: float = 4.0,
) -> np.ndarray:
    """Travelled distance [num_steps, n] of n vehicles of one lane, in a fixed time step.

    Treiber, Hennecke and Helbing (2000), equations 2 and 3. `start` [n] are the middles of the vehicles (m), in any
    order; `length` [n] their lengths (m). Vehicles whose front has not passed `stop` wait there. The warm-up lets
    speeds settle.
    """
    order = np.argsort(-start)
    middle, length, desired = start[order].copy(), length[order], desired_mps[order]
    speed = desired * 0.9
    tracks = np.empty((num_steps, len(start)))
    for step in range(-int(warm_up_s / step_s), num_steps):
        front, rear = middle + length / 2, middle - length / 2
        gap = np.concatenate([[np.inf], rear[:-1] - front[1:]])
        leader = np.concatenate([[0.0], speed[:-1]])
        if stop is not None:
            to_line = np.where(front <= stop + 0.3, stop - front, np.inf)
            leader = np.where(to_line < gap, 0.0, leader)
            gap = np.minimum(gap, to_line + _GAP_M * 0.7)
        gap = np.maximum(gap, 0.3)
        wanted = _GAP_M + np.maximum(
            speed * _HEADWAY_S + speed * (speed - leader) / (2 * np.sqrt(_ACCELERATION * _BRAKING)), 0.0
        )
        push = _ACCELERATION * (1 - (speed / desired) ** 4 - np.where(np.isinf(gap), 0.0, (wanted / gap) ** 2))
        if step >= 0:
            tracks[step] = middle
        speed = np.maximum(speed + np.maximum(push, -6.0) * step_s, 0.0)
        middle = middle + speed * step_s
    result = np.empty_like(tracks)
    result[:, order] = tracks
    return result
