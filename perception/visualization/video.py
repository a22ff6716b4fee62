"""Pictures as an MP4 file."""

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np


def write_mp4(path: str | Path, pictures: Iterable[np.ndarray], fps: float = 2.0) -> Path:
    """Write RGB pictures [H,W,3] uint8 as MP4 (MPEG-4 part 2, which OpenCV's wheels can write), whole or not at all.

    Sizes are cut to even numbers, which the codec needs. Raises ValueError without pictures or where one differs in
    size, OSError where OpenCV cannot write the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    writer, size = None, (0, 0)
    try:
        for number, picture in enumerate(pictures):
            height, width = (n // 2 * 2 for n in picture.shape[:2])
            if writer is None:
                size = (width, height)
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
                if not writer.isOpened():
                    raise OSError(f"OpenCV cannot write {path}: its build has no MP4 encoder")
            if (width, height) != size:
                raise ValueError(f"picture {number} is {width}x{height}, the first is {size[0]}x{size[1]}")
            writer.write(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR))
        if writer is None:
            raise ValueError(f"no pictures for {path}")
        writer.release()
        os.replace(temporary, path)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)
    return path
