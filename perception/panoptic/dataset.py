"""Images with panoptic truth or point labels, cut to the network's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from perception.datasets.sensor_files import read_image
from perception.panoptic.files import read_json, read_segments, segment_folder

STRIDE = 4  # pixels per cell of the head's maps


@dataclass(frozen=True)
class View:
    """How a recorded image becomes the network's: shrunk to its width, cut at `top`, mirrored by choice."""

    recorded_hw: tuple[int, int]
    size_hw: tuple[int, int]
    top: int
    flip: bool = False

    @property
    def scale(self) -> float:
        return self.size_hw[1] / self.recorded_hw[1]

    def of_image(self, image: np.ndarray) -> np.ndarray:
        """[H,W,3] uint8 recorded -> [h,w,3]."""
        rows = round(self.recorded_hw[0] * self.scale)
        small = cv2.resize(image, (self.size_hw[1], rows), interpolation=cv2.INTER_AREA)
        return self._cut(small)

    def of_segments(self, segment: np.ndarray) -> np.ndarray:
        """Segment numbers [H,W] -> [h,w], each pixel's that of its centre."""
        centre = (np.arange(self.size_hw[1]) + 0.5) / self.scale
        columns = np.clip(centre.astype(int), 0, segment.shape[1] - 1)
        centre = (np.arange(self.size_hw[0]) + self.top + 0.5) / self.scale
        rows = np.clip(centre.astype(int), 0, segment.shape[0] - 1)
        picked = segment[rows[:, None], columns]
        return np.ascontiguousarray(picked[:, ::-1]) if self.flip else picked

    def of_points(self, xy: np.ndarray) -> np.ndarray:
        """Recorded pixels [P,2] x y -> [P,2] int64 x y in the network's image; negative or too large: cut off."""
        out = np.floor((xy + 0.5) * self.scale).astype(np.int64) - [0, self.top]
        if self.flip:
            out[:, 0] = self.size_hw[1] - 1 - out[:, 0]
        return out

    def _cut(self, image: np.ndarray) -> np.ndarray:
        cut = image[self.top : self.top + self.size_hw[0]]
        return np.ascontiguousarray(cut[:, ::-1] if self.flip else cut)


class PanopticDataset(Dataset):
    """Images of a COCO-panoptic file.

    In training an image without a single point in view is left out, as there is nothing to learn from; `skipped` counts
    them. Where points of two targets fall into one cell of the head's map, the later one is under another object: it is
    left out, too, and `conflicts` counts it.
    A sample is {"inputs": image [3,H,W] uint8 RGB, "data_samples"}: its `points` [P,4] int64 (row, column, class,
    target, at a quarter of the size), `labels` [T] and `index` [H/4,W/4] int64 of the truth, `image_id` and `view`.

    Args:
        ann_file: COCO-panoptic file; its categories' order, things first, is that of the classes.
        data_root: folder that its images' names are relative to.
        size_hw: the network's image, multiples of 16.
        points: points per target, drawn once for all epochs from what the network's image shows of the truth; or a
            point label file's path.
        crop_y: 0 keeps the top of the image, 1 the bottom.
        flip: mirror half of the images.
        test_mode: keep all images, mirror none.
        seed: of the points.
        keep: hold every sample in memory once it is read, for small data sets.

    Raises FileNotFoundError or ValueError that names the file: what is missing, an unknown category, a point outside
    its image, an image that the other file does not have.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str,
        size_hw: tuple[int, int],
        points: int | str = 1,
        crop_y: float = 0.9,
        flip: bool = False,
        test_mode: bool = False,
        seed: int = 0,
        keep: bool = False,
    ) -> None:
        content = read_json(ann_file)
        rows = sorted(content["categories"], key=lambda row: -row["isthing"])
        if rows != content["categories"]:
            raise ValueError(f"{ann_file}: the categories' things must come before the stuff")
        if min(size_hw) < 16 or any(side % 16 for side in size_hw):
            raise ValueError(f"size_hw must be multiples of 16, got {tuple(size_hw)}")
        if isinstance(points, int) and points < 1:
            raise ValueError(f"points per target must be at least 1, got {points}")
        self.ann_file, self.data_root = str(ann_file), Path(data_root)
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.crop_y, self.test_mode, self.seed = crop_y, test_mode, seed
        self.flip = flip and not test_mode
        self.class_of = {row["id"]: i for i, row in enumerate(rows)}
        self.metainfo = {"classes": tuple(row["name"] for row in rows), "category_ids": list(self.class_of)}
        self.points, self._labelled = points, self._read_points(points) if isinstance(points, str) else {}
        annotations = {row["image_id"]: row for row in content["annotations"]}
        self.images = []
        for image in content["images"]:
            if image["id"] not in annotations:
                raise ValueError(f"{ann_file}: image {image['file_name']} has no annotation")
            segments = annotations[image["id"]]
            for segment in segments["segments_info"]:
                self._class(segment["category_id"], f"{ann_file}: segment {segment['id']} of {image['file_name']}")
            self.images.append({**image, "png": segments["file_name"], "segments": segments["segments_info"]})
        self.keep = keep
        self._kept: dict[tuple[int, bool], dict[str, Any]] = {}
        self.skipped = 0
        self.conflicts = 0
        if not test_mode and self._labelled:
            kept = [image for image in self.images if self._in_view(image)]
            self.skipped = len(self.images) - len(kept)
            if not kept:
                raise ValueError(f"{points}: no image has a point in view; there is nothing to train on")
            if self.skipped:
                print_log(f"{self.skipped} of {len(self.images)} images have no point in view: left out", "current")
            self.images = kept

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        flip = self.flip and bool(torch.rand(()) < 0.5)
        if (index, flip) in self._kept:
            return self._kept[index, flip]
        sample = self._read(self.images[index], flip)
        if self.keep:
            self._kept[index, flip] = sample
        return sample

    def _read(self, row: dict[str, Any], flip: bool) -> dict[str, Any]:
        image, _ = read_image(self.data_root / row["file_name"])
        view = self._view(row, flip)
        if image.shape[:2] != view.recorded_hw:
            raise ValueError(
                f"{self.data_root / row['file_name']} is {image.shape[1]} x {image.shape[0]}, "
                f"but {self.ann_file} says {row['width']} x {row['height']}"
            )
        sample = BaseDataElement(metainfo={"image_id": row["id"], "view": view})
        if not self.test_mode:
            segment = read_segments(segment_folder(self.ann_file) / row["png"])
            sample.set_data(self._targets(row, segment, view))
        tensor = torch.from_numpy(view.of_image(image)).permute(2, 0, 1).contiguous()
        return {"inputs": tensor, "data_samples": sample}

    def _view(self, row: dict[str, Any], flip: bool = False) -> View:
        recorded = (row["height"], row["width"])
        rows = round(recorded[0] * self.size_hw[1] / recorded[1])
        if rows < self.size_hw[0]:
            raise ValueError(f"{row['file_name']} of {self.ann_file} is too wide for size_hw {self.size_hw}")
        return View(recorded, self.size_hw, round((rows - self.size_hw[0]) * self.crop_y), flip)

    def _targets(self, row: dict[str, Any], segment: np.ndarray, view: View) -> dict[str, torch.Tensor]:
        """points, labels and index of an image. Targets with points come first in `labels`, in their order."""
        if self._labelled:
            listed = self._labelled[row["id"]]
        else:
            listed = [(self.class_of[s["category_id"]], self._drawn(row, s, segment, view)) for s in row["segments"]]
        points: list[tuple[int, int, int, int]] = []
        order: list[int] = []
        taken: set[tuple[int, int]] = set()
        for label, xy in listed:
            inside, cells = self._cells(view, xy)
            fresh = [k for k, cell in enumerate(map(tuple, cells.tolist())) if cell not in taken]
            self.conflicts += len(cells) - len(fresh)
            if fresh:
                cells = cells[fresh]
                taken |= set(map(tuple, cells.tolist()))
                points += [(y, x, label, len(order)) for x, y in cells.tolist()]
                numbers = segment[xy[inside][:, 1], xy[inside][:, 0]]
                order.append(int(np.bincount(numbers).argmax()))
        shown = view.of_segments(segment)[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        number_of = {n: k for k, n in reversed(list(enumerate(order))) if n}
        labels = [p for _, p in sorted({(target, label) for _, _, label, target in points})]
        for entry in row["segments"]:
            if entry["id"] not in number_of:
                number_of[entry["id"]] = len(labels)
                labels.append(self.class_of[entry["category_id"]])
        index = np.full(shown.shape, -1, dtype=np.int64)
        for number in np.unique(shown).tolist():
            index[shown == number] = number_of.get(number, -1)
        return {
            "points": torch.tensor(points, dtype=torch.int64).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "index": torch.from_numpy(index),
        }

    def _cells(self, view: View, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which points [P] bool lie in the network's image, and the map's cells [*,2] x y of those."""
        moved = view.of_points(xy)
        inside = ((moved >= 0) & (moved < view.size_hw[::-1])).all(axis=1)
        return inside, moved[inside] // STRIDE

    def _drawn(self, row: dict[str, Any], entry: dict[str, Any], segment: np.ndarray, view: View) -> np.ndarray:
        """Recorded pixels [P,2] x y of what the network's image shows of a true segment, the same at every call."""
        assert isinstance(self.points, int)
        x, y, width, height = entry["bbox"]
        own = np.argwhere(segment[y : y + height, x : x + width] == entry["id"])
        if not len(own):
            raise ValueError(f"{self.ann_file}: segment {entry['id']} of {row['file_name']} is not in its PNG's box")
        xy = own[:, ::-1] + [x, y]
        xy = xy[self._cells(view, xy)[0]]
        rng = np.random.default_rng([self.seed, row["id"], entry["id"]])
        return xy[rng.permutation(len(xy))[: self.points]]

    def _class(self, category: int, where: str) -> int:
        if category not in self.class_of:
            raise ValueError(f"{where} has category {category}; the file knows {sorted(self.class_of)}")
        return self.class_of[category]

    def _read_points(self, path: str) -> dict[int, list[tuple[int, np.ndarray]]]:
        """{image id: [(class, [P,2] int64 x y)]} of a point label file."""
        content = read_json(path)
        sizes = {row["id"]: (row["width"], row["height"]) for row in content["images"]}
        out: dict[int, list[tuple[int, np.ndarray]]] = {}
        for row in content["annotations"]:
            name = f"{path}: image {row['image_id']}"
            if row["image_id"] not in sizes:
                raise ValueError(f"{name} is not among its images")
            targets = []
            for number, target in enumerate(row["targets"]):
                xy = np.array(target["points"], dtype=np.int64).reshape(-1, 2)
                if ((xy < 0) | (xy >= sizes[row["image_id"]])).any():
                    width, height = sizes[row["image_id"]]
                    raise ValueError(f"{name}, target {number}: a point lies outside its {width} x {height} pixels")
                targets.append((self._class(target["category_id"], f"{name}, target {number}"), xy))
            out[row["image_id"]] = targets
        return out

    def _in_view(self, row: dict[str, Any]) -> bool:
        if row["id"] not in self._labelled:
            raise ValueError(f"{self.points} does not have image {row['file_name']} of {self.ann_file}")
        view = self._view(row)
        return any(self._cells(view, xy)[0].any() for _, xy in self._labelled[row["id"]])
