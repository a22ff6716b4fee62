"""Reading point clouds and images strictly: a damaged file is an error that names it, never a silent wrong sample."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

# Data workers are processes already; OpenCV's threads on top of them only fight over the cores.
cv2.setNumThreads(0)

_MARKERS = {"JPEG": (b"\xff\xd8", b"\xff\xd9"), "PNG": (b"\x89PNG", b"IEND")}
_REDUCED_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_points(path: str | Path, features: int = 5) -> np.ndarray:
    """Points [P,features] float32 of a raw file (nuScenes' .pcd.bin: x y z intensity ring). An empty file is no points.

    Raises FileNotFoundError; ValueError naming the file when its size is not whole points or a number is not finite.
    """
    if features < 3:
        raise ValueError(f"a point needs at least x y z, got num_pts_feats = {features} for {path}")
    try:
        values = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"LiDAR file is missing: {path}") from None
    if values.size % (4 * features):
        raise ValueError(
            f"LiDAR file is truncated: {path} has {values.size} bytes, not a multiple of {4 * features} "
            f"({features} float32 per point)"
        )
    points = values.view(np.float32).reshape(-1, features)
    bad = int((~np.isfinite(points[:, :4])).any(axis=1).sum())
    if bad:
        raise ValueError(f"LiDAR file holds {bad} points of {len(points)} with NaN or infinity: {path}")
    return points


def read_image(path: str | Path, min_hw: tuple[int, int] | None = None) -> tuple[np.ndarray, int]:
    """An image as RGB [H,W,3] uint8, and the factor k it was reduced by while decoding.

    With min_hw, k is the largest of 1, 2, 4, 8 that leaves at least that many rows and columns; a pixel of the result
    covers k x k recorded ones, so its centre (i, j) lies at k * i + (k - 1) / 2. EXIF rotation is not applied:
    calibration speaks of the pixels as recorded.

    Raises FileNotFoundError; ValueError naming the file when it is not an image or is cut short.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"image file is missing: {path}") from None
    _check_whole(data, path)
    factor = _reduction(_size_hw(data, path), min_hw)
    image = cv2.imdecode(data, _REDUCED_FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError(f"image file cannot be decoded: {path}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), factor


def _check_whole(data: np.ndarray, path: str | Path) -> None:
    """A file without its format's end marker was cut short: decoders fill the rest with grey and say nothing."""
    if data.size == 0:
        raise ValueError(f"image file is empty: {path}")
    start, tail = data[:8].tobytes(), data[-1024:].tobytes()
    for name, (first, last) in _MARKERS.items():
        if start.startswith(first) and last not in tail:
            raise ValueError(f"image file is truncated (a {name} without its end marker): {path}")


def _size_hw(data: np.ndarray, path: str | Path) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data.data)) as header:
            return header.height, header.width
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"not an image: {path} ({error})") from error


def _reduction(size_hw: tuple[int, int], min_hw: tuple[int, int] | None) -> int:
    if min_hw is None:
        return 1
    return max(
        k for k in _REDUCED_FLAGS if k == 1 or all(n >= least * k for n, least in zip(size_hw, min_hw, strict=True))
    )
