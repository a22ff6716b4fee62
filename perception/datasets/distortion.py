"""Lens distortion: what a calibration may say of it, and images straightened as they are loaded.

Everything after loading is a pinhole camera. The straight image keeps the size and the intrinsics of the recorded one,
so what the lens bent inwards from beyond its border is lost, and what is not in the recording is black.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

# Coefficients of each model, in OpenCV's order.
MODELS = {"brown_conrady": ("k1", "k2", "p1", "p2", "k3"), "fisheye": ("k1", "k2", "k3", "k4")}


@dataclass(frozen=True)
class Distortion:
    """Attributes:
    model: "brown_conrady" (radial and tangential, what cv2.calibrateCamera finds) or "fisheye" (Kannala & Brandt, what
        cv2.fisheye.calibrate finds).
    coefficients: k1 k2 p1 p2 k3, or k1 k2 k3 k4.
    """

    model: str
    coefficients: tuple[float, ...]


def read_distortion(entry: Mapping[str, Any], where: str) -> Distortion | None:
    """The `distortion` of a camera's entry, {"model": ..., "coefficients": [...]}; None where it has none.

    A Brown-Conrady lens may leave k3 out. Raises ValueError that begins with `where` for anything else.
    """
    content = entry.get("distortion")
    if content is None:
        return None
    if not isinstance(content, Mapping) or content.get("model") not in MODELS:
        raise ValueError(
            f"{where}: 'distortion' must be {{'model': {' or '.join(map(repr, MODELS))}, 'coefficients': [...]}}, got "
            f"{content!r}"
        )
    names = MODELS[content["model"]]
    try:
        coefficients = np.array(content["coefficients"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: the distortion's 'coefficients' are missing or not numbers") from error
    if content["model"] == "brown_conrady" and coefficients.shape == (4,):
        coefficients = np.append(coefficients, 0.0)
    if coefficients.shape != (len(names),) or not np.isfinite(coefficients).all():
        raise ValueError(f"{where}: a {content['model']} distortion has {' '.join(names)}, got {coefficients.tolist()}")
    return Distortion(content["model"], tuple(coefficients.tolist()))


def undistort(image: np.ndarray, intrinsics: np.ndarray, distortion: Distortion) -> np.ndarray:
    """The image [H,W,3] uint8 of a pinhole camera with the same intrinsics [3,3] (px of this very image)."""
    lens = np.asarray(intrinsics, dtype=np.float64)
    maps = _maps(distortion, tuple(lens.ravel().tolist()), image.shape[1], image.shape[0])
    return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


@lru_cache(maxsize=24)  # a rig of twelve cameras at two sizes; a map costs more than its use
def _maps(
    distortion: Distortion, intrinsics: tuple[float, ...], width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    lens, coefficients = np.array(intrinsics).reshape(3, 3), np.array(distortion.coefficients)
    make = cv2.fisheye.initUndistortRectifyMap if distortion.model == "fisheye" else cv2.initUndistortRectifyMap
    first, second = make(lens, coefficients, np.eye(3), lens, (width, height), cv2.CV_16SC2)
    return first, second
