"""Reading point clouds and images strictly: a damaged file is an error that names it, never a silent wrong sample.

What cannot be told: a wrong number in a cloud that is a sensible coordinate, and a wrong byte in the middle of a JPEG,
which decodes to other colours.
"""

import io
import os
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


MAX_FILE_BYTES = 256 << 20  # 13 million points of five numbers; a sweep of nuScenes has 35,000
MAX_IMAGE_PX = 100_000_000
MAX_COORDINATE_M = 10_000.0  # no LiDAR sees a tenth as far


def check_points_size(size: int, path: str | Path, features: int) -> None:
    """Raises ValueError naming the file when `size` bytes are not whole points, or too many to be a sweep."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"LiDAR file is too large to be a sweep: {path} has {size} bytes (limit {MAX_FILE_BYTES})")
    if size % (4 * features):
        raise ValueError(
            f"LiDAR file is truncated: {path} has {size} bytes, not a multiple of {4 * features} "
            f"({features} float32 per point)"
        )


def check_image_ends(path: str | Path) -> None:
    """Raises FileNotFoundError; ValueError naming the file that does not begin and end as a JPEG or PNG does."""
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            start = np.frombuffer(file.read(8), dtype=np.uint8)
            file.seek(max(0, size - 1024))
            tail = np.frombuffer(file.read(), dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"image file is missing: {path}") from None
    _check_image_size(size, path)
    _check_whole(np.concatenate((start, tail)), path)
    if not any(start.tobytes().startswith(first) for first, _ in _MARKERS.values()):
        raise ValueError(f"not a JPEG or PNG: {path}")


def _read(path: str | Path, what: str, size_bytes: int | None) -> np.ndarray:
    try:
        size = os.stat(path).st_size
        if size_bytes is not None and size != size_bytes:
            raise ValueError(f"{what} file has changed: {path} has {size} bytes and had {size_bytes} in the info file")
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{what} file is too large: {path} has {size} bytes (limit {MAX_FILE_BYTES})")
        return np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"{what} file is missing: {path}") from None
    except OSError as error:
        raise ValueError(f"{what} file cannot be read: {path} ({error.strerror or error})") from error


def _check_image_size(size: int, path: str | Path) -> None:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"image file is too large: {path} has {size} bytes (limit {MAX_FILE_BYTES})")


def read_points(path: str | Path, features: int = 5, size_bytes: int | None = None) -> np.ndarray:
    """Points [P,features] float32 of a raw file (nuScenes' .pcd.bin: x y z intensity ring). An empty file is no points.

    Raises FileNotFoundError; ValueError naming the file when its size is not `size_bytes` where that is known, not
    whole points or too large, a number is not finite, a point lies farther away than any LiDAR sees, or all points are
    zero.
    """
    if features < 3:
        raise ValueError(f"a point needs at least x y z, got num_pts_feats = {features} for {path}")
    values = _read(path, "LiDAR", size_bytes)
    check_points_size(values.size, path, features)
    points = values.view(np.float32).reshape(-1, features)
    bad = int((~np.isfinite(points[:, :4])).any(axis=1).sum())
    if bad:
        raise ValueError(f"LiDAR file holds {bad} points of {len(points)} with NaN or infinity: {path}")
    if len(points) and not points[:, :3].any():
        raise ValueError(f"LiDAR file holds nothing but zeros: {path}")
    if len(points) and (farthest := float(np.abs(points[:, :3]).max())) > MAX_COORDINATE_M:
        raise ValueError(f"LiDAR file holds a point {farthest:.3g} m away, which no LiDAR sees: {path}")
    return points


def read_image(
    path: str | Path, min_hw: tuple[int, int] | None = None, size_bytes: int | None = None
) -> tuple[np.ndarray, int]:
    """An image as RGB [H,W,3] uint8, and the factor k it was reduced by while decoding.

    With min_hw, k is the largest of 1, 2, 4, 8 that leaves at least that many rows and columns; a pixel of the result
    covers k x k recorded ones, so its centre (i, j) lies at k * i + (k - 1) / 2. EXIF rotation is not applied:
    calibration speaks of the pixels as recorded.

    Raises FileNotFoundError; ValueError naming the file when it is not an image, is cut short, or its size is not
    `size_bytes` where that is known.
    """
    data = _read(path, "image", size_bytes)
    _check_whole(data, path)
    factor = _reduction(_size_hw(data, path), min_hw)
    try:
        image = cv2.imdecode(data, _REDUCED_FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"image file cannot be decoded: {path} ({error.err})") from error
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
            height, width = header.height, header.width
    except Image.DecompressionBombError:
        raise ValueError(f"image is too large: {path} has more than {MAX_IMAGE_PX} pixels") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, OverflowError) as error:
        raise ValueError(f"not an image: {path} ({error})") from error
    if height * width > MAX_IMAGE_PX:
        raise ValueError(f"image is too large: {path} is {width} x {height} pixels (limit {MAX_IMAGE_PX})")
    return height, width


def _reduction(size_hw: tuple[int, int], min_hw: tuple[int, int] | None) -> int:
    if min_hw is None:
        return 1
    return max(
        k for k in _REDUCED_FLAGS if k == 1 or all(n >= least * k for n, least in zip(size_hw, min_hw, strict=True))
    )
