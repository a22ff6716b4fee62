"""COCO JSON files of 2D boxes, written as they come: nuScenes has 170,000 images and a million boxes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


class CocoWriter:
    """Writes one COCO file, as a context; it appears whole when the context ends well, else not at all.

    Boxes are [4] x y width height in px, where pixel (0, 0) covers [0, 1) x [0, 1), as COCO has them.

    Attributes:
        images, boxes, ignored: how many were written.
    """

    def __init__(self, path: str | Path, classes: Sequence[str], description: str) -> None:
        self.path = Path(path)
        self.classes, self.description = tuple(classes), description
        self.images = self.boxes = self.ignored = 0
        self._images: list[str] = []

    def __enter__(self) -> CocoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._file: TextIO = open(self._temporary, "w", encoding="utf-8")
        categories = [{"id": i, "name": name} for i, name in enumerate(self.classes, start=1)]
        head = {"info": {"description": self.description}, "licenses": [], "categories": categories}
        self._file.write(json.dumps(head)[:-1] + ',\n"annotations": [')
        return self

    def add_image(self, file_name: str, width: int, height: int, **extra: Any) -> int:
        """An image, its name relative to the dataroot; returns its id."""
        self.images += 1
        entry = {"id": self.images, "file_name": file_name, "width": int(width), "height": int(height), **extra}
        self._images.append(json.dumps(entry, allow_nan=False))
        return self.images

    def add_box(
        self,
        image: int,
        label: int,
        box: Sequence[float],
        area: float | None = None,
        ignore: bool = False,
        **extra: Any,
    ) -> None:
        """A box of class `label` (0-based) of an image; `ignore` marks what is neither to be found nor missed."""
        x, y, width, height = (round(float(v), 2) for v in box)
        entry = {
            "id": self.boxes + 1,
            "image_id": image,
            "category_id": label + 1,
            "bbox": [x, y, width, height],
            "area": round(width * height if area is None else float(area), 2),
            "iscrowd": int(ignore),
            **extra,
        }
        self._file.write((",\n" if self.boxes else "\n") + json.dumps(entry, allow_nan=False))
        self.boxes += 1
        self.ignored += int(ignore)

    def summary(self) -> str:
        """What was written, in words."""
        return f"{self.boxes - self.ignored} boxes in {self.images} images, {self.ignored} more to be ignored"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.write('\n],\n"images": [\n' + ",\n".join(self._images) + "\n]}\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
