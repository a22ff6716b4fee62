"""Which sensor is not where its calibration says, from the corrections of all cameras."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perception.evaluation.sensors.alignment import Correction
from perception.evaluation.sensors.recording import LIDAR

# Along the camera's axes (right, down, forward). Sides of objects tell turns about `down` and moves to the right well.
# Their tops are seen by beams 1.3 degrees apart, and hardly anything in a picture moves with a step forward: those
# limits are wider. Measured in docs/sensors.md.
TURN_LIMIT_DEG = np.array([0.55, 0.25, 0.6])
FEW_FRAMES_TURN_LIMIT_DEG = np.array([0.8, 0.25, 0.9])  # with less than MOVE_MIN_FRAMES
MOVE_LIMIT_M = np.array([0.03, 0.035, 0.035])
# What all cameras share, about the LiDAR's axes (right, forward, up).
LIDAR_TURN_LIMIT_DEG = np.array([0.5, 0.5, 0.3])
LIDAR_MOVE_LIMIT_M = np.array([0.035, 0.035, 0.04])
SIGNIFICANT = 4.0  # standard errors
MOVE_MIN_FRAMES = 32  # of 12, an unharmed camera was once moved by 13 cm

Kind = Literal["turned", "moved"]


@dataclass(frozen=True)
class Displacement:
    """A sensor that is turned (deg) or moved (m) against its calibration by `amount` [3] along its own axes."""

    kind: Kind
    amount: np.ndarray

    def __str__(self) -> str:
        size = float(np.linalg.norm(self.amount))
        if self.kind == "turned":
            return f"turned by {size:.1f} degrees against its calibration"
        return f"moved by {100 * size:.0f} cm against its calibration"


def displaced(
    corrections: Mapping[str, Correction], camera_from_lidar: Mapping[str, np.ndarray]
) -> dict[str, Displacement]:
    """The sensors that are displaced, by name.

    corrections and camera_from_lidar [4,4]: by camera.

    What the cameras share, seen from the LiDAR, is none of theirs: the median over at least three of them. Where it is
    over the LiDAR's limits the LiDAR is at fault, and the cameras are judged by what they differ from it in the same
    kind. A smaller move is the method's: the tops of cars round off, and all cameras seem to stand too high.
    """
    if not corrections:
        return {}
    amounts: dict[Kind, dict[str, np.ndarray]] = {
        "turned": {camera: np.degrees(correction.turn) for camera, correction in corrections.items()},
        "moved": {camera: correction.move for camera, correction in corrections.items()},
    }
    rotation = {camera: np.asarray(camera_from_lidar[camera])[:3, :3] for camera in corrections}
    shared = {kind: _shared(amounts[kind], rotation) for kind in amounts}
    common = _common(corrections, shared)
    found: dict[str, Displacement] = {}
    kinds: list[Kind] = ["turned", "moved"]
    if common is not None:
        found[LIDAR] = Displacement(common.kind, -common.amount)
        kinds = [common.kind]
    for camera, correction in corrections.items():
        faults = []
        for kind in kinds:
            rest = amounts[kind][camera]
            if common is not None or kind == "moved":
                rest = rest - rotation[camera] @ shared[kind]
            if _is_fault(kind, rest, correction):
                faults.append(Displacement(kind, rest))
        if faults:
            # Over the usual depths a turn looks like a move: the one that explains the edges better is named.
            found[camera] = max(faults, key=lambda fault: getattr(correction, f"score_{fault.kind}"))
    return found


def _shared(amounts: Mapping[str, np.ndarray], rotation: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the cameras share [3], about the LiDAR's axes; nothing where there are fewer than three."""
    if len(amounts) < 3:
        return np.zeros(3)
    return np.median([rotation[camera].T @ amount for camera, amount in amounts.items()], axis=0)


def _common(corrections: Mapping[str, Correction], shared: Mapping[Kind, np.ndarray]) -> Displacement | None:
    """What the cameras share, where that is a fault of the LiDAR; of both kinds the better explanation."""
    limits: dict[Kind, np.ndarray] = {"turned": LIDAR_TURN_LIMIT_DEG}
    if all(correction.frames >= MOVE_MIN_FRAMES for correction in corrections.values()):
        limits["moved"] = LIDAR_MOVE_LIMIT_M
    faults = [
        Displacement(kind, shared[kind]) for kind, limit in limits.items() if (np.abs(shared[kind]) > limit).any()
    ]
    score = {kind: sum(getattr(c, f"score_{kind}") for c in corrections.values()) for kind in limits}
    return max(faults, key=lambda displacement: score[displacement.kind], default=None)


def _is_fault(kind: Kind, amount: np.ndarray, correction: Correction) -> bool:
    """Whether an amount is over its limit along an axis where it is not chance either."""
    if kind == "turned":
        limit = TURN_LIMIT_DEG if correction.frames >= MOVE_MIN_FRAMES else FEW_FRAMES_TURN_LIMIT_DEG
        spread = np.degrees(correction.turn_spread)
    elif correction.frames < MOVE_MIN_FRAMES:
        return False
    else:
        limit, spread = MOVE_LIMIT_M, correction.move_spread
    return bool(((np.abs(amount) > limit) & (np.abs(amount) > SIGNIFICANT * spread)).any())
