"""Which sensor is not where its calibration says, from the corrections of all cameras."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perception.evaluation.sensors.alignment import Correction
from perception.evaluation.sensors.recording import LIDAR

# Along the camera's axes (right, down, forward). Sides of objects tell turns about `down` and moves to the right well.
# Their tops are seen by beams 1.3 degrees apart and lie on slanted surfaces, and hardly anything in a picture moves
# with a step forward: those limits are wide. Measured in docs/sensors.md.
TURN_LIMIT_DEG = np.array([0.8, 0.25, 0.9])
MOVE_LIMIT_M = np.array([0.035, 0.20, 0.10])
# What all cameras share, about the LiDAR's axes (right, forward, up).
LIDAR_TURN_LIMIT_DEG = np.array([0.5, 0.5, 0.3])
LIDAR_MOVE_LIMIT_M = np.array([0.05, 0.05, 0.10])
SIGNIFICANT = 3.0  # standard errors
MOVE_MIN_FRAMES = 12  # with fewer, moves of unharmed cameras are estimated at up to 15 cm

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

    What the cameras share, seen from the LiDAR, is the LiDAR's own: the median over at least three cameras is taken for
    it, and each camera is judged by what it differs from that, in the same kind.
    """
    if not corrections:
        return {}
    amounts: dict[Kind, dict[str, np.ndarray]] = {
        "turned": {camera: np.degrees(correction.turn) for camera, correction in corrections.items()},
        "moved": {camera: correction.move for camera, correction in corrections.items()},
    }
    rotation = {camera: np.asarray(camera_from_lidar[camera])[:3, :3] for camera in corrections}
    common = _common(corrections, amounts, rotation)
    found: dict[str, Displacement] = {}
    kinds: list[Kind] = ["turned", "moved"]
    if common is not None:
        found[LIDAR] = Displacement(common.kind, -common.amount)
        kinds = [common.kind]
    for camera, correction in corrections.items():
        faults = []
        for kind in kinds:
            rest = amounts[kind][camera]
            if common is not None:
                rest = rest - rotation[camera] @ common.amount
            if _is_fault(kind, rest, correction):
                faults.append(Displacement(kind, rest))
        if faults:
            # Over the usual depths a turn looks like a move: the one that explains the edges better is named.
            found[camera] = max(faults, key=lambda fault: getattr(correction, f"score_{fault.kind}"))
    return found


def _common(
    corrections: Mapping[str, Correction],
    amounts: Mapping[Kind, Mapping[str, np.ndarray]],
    rotation: Mapping[str, np.ndarray],
) -> Displacement | None:
    """What the cameras share in the LiDAR's frame, where that is a fault; of both kinds the better explanation."""
    if len(corrections) < 3:
        return None
    shared = []
    limits: dict[Kind, np.ndarray] = {"turned": LIDAR_TURN_LIMIT_DEG}
    if all(correction.frames >= MOVE_MIN_FRAMES for correction in corrections.values()):
        limits["moved"] = LIDAR_MOVE_LIMIT_M
    for kind, limit in limits.items():
        amount = np.median([rotation[camera].T @ amounts[kind][camera] for camera in corrections], axis=0)
        if (np.abs(amount) > limit).any():
            shared.append(Displacement(kind, amount))
    score = {kind: sum(getattr(c, f"score_{kind}") for c in corrections.values()) for kind in limits}
    return max(shared, key=lambda displacement: score[displacement.kind], default=None)


def _is_fault(kind: Kind, amount: np.ndarray, correction: Correction) -> bool:
    """Whether an amount is over its limit along an axis where it is not chance either."""
    if kind == "turned":
        limit, spread = TURN_LIMIT_DEG, np.degrees(correction.turn_spread)
    elif correction.frames < MOVE_MIN_FRAMES:
        return False
    else:
        limit, spread = MOVE_LIMIT_M, correction.move_spread
    return bool(((np.abs(amount) > limit) & (np.abs(amount) > SIGNIFICANT * spread)).any())
