"""Cutting annotated objects out of their frames, into a database as perception/datasets/gt_database.py describes it."""

import json
import math
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from perception.datasets.gt_database import DATABASE_VERSION, INDEX_FILE, POINTS_FILE, object_checksum
from perception.datasets.info_files import resolve_entry, stream_info_file
from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.transforms.loading import LoadSweeps
from perception.ops.points_in_boxes import points_in_boxes_all

_Objects = tuple[list[dict[str, Any]], np.ndarray]  # records, and their points [Q,5] one object after the other


def create_gt_database(
    ann_file: str | Path,
    out: str | Path,
    root: str | Path | None = None,
    sweeps: int = 9,
    every: int = 1,
    min_points: int = 5,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, int]:
    """Cut every annotated object of an info file out of its frame and write the database into the folder `out`.

    One frame per worker is in memory at a time, and what is cut out of it is written at once. The folder appears whole
    or not at all: it is written as `<out>.partial` and renamed; a database that was there stays until then.

    Args:
        ann_file: info file to take samples from; those to train on.
        root: dataroot; None takes the one that the info file records.
        sweeps, every: as the training pipeline's LoadSweeps has them: pasted objects should be as dense as the scene's.
        min_points: objects with fewer points, of all sweeps together, are left out.
        workers: processes that cut.

    Returns {class: number of objects}. Raises FileNotFoundError or ValueError naming what is missing or wrong, or where
    no object has enough points; FileExistsError where `out` holds anything else than a database.
    """
    if min_points < 1 or workers < 1:
        raise ValueError(f"min_points and workers must be 1 or more, got {min_points} and {workers}")
    ann_file, out = Path(ann_file), Path(out)
    metainfo, count, samples = stream_info_file(ann_file)
    root = Path(root or ann_file.parent / metainfo.get("dataroot", ".")).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no dataroot at {root} (from {ann_file}); give --root or make the info file anew")
    cutter = _Cutter(ann_file, root, LoadSweeps(sweeps, every), min_points)
    header = {
        "gt_database": DATABASE_VERSION,
        "sweeps": sweeps,
        "every": every,
        "min_points": min_points,
        "source": ann_file.name,
    }
    partial = _prepare(out)
    try:
        frames = tqdm(_cut_all(cutter, samples, workers), "objects", count, unit="sample", disable=not progress)
        counts = _write(partial, header, frames)
        if not counts:
            raise ValueError(f"{ann_file} has no object with {min_points} LiDAR points: nothing to make a database of")
        _publish(partial, out)
    finally:
        _remove(partial)
    return dict(counts)


class _Cutter:
    """Takes an info entry to its objects: their records, and their points [Q,5] float32 one object after the other."""

    def __init__(self, ann_file: Path, root: Path, load: LoadSweeps, min_points: int) -> None:
        self.ann_file, self.root, self.load, self.min_points = ann_file, root, load, min_points

    def __call__(self, info: dict[str, Any]) -> _Objects:
        try:
            resolve_entry(info, self.root)
            instances = [row for row in info.get("instances", []) if row["bbox_label_3d"] >= 0]
            if not instances:
                return [], np.zeros((0, 5), dtype=np.float32)
            return self._cut(str(info["token"]), instances, self.load(info)["points"])
        except KeyError as error:
            raise ValueError(f"{self.ann_file}: sample {info.get('token')!r} lacks {error}") from error

    def _cut(self, token: str, instances: list[dict[str, Any]], points: np.ndarray) -> _Objects:
        boxes = np.array([row["bbox_3d"][:7] for row in instances], dtype=np.float32).reshape(-1, 7)
        xyz = torch.from_numpy(np.ascontiguousarray(points[:, :3]))
        # A point in two boxes belongs to both objects: either would have it where the other is not.
        point, box = points_in_boxes_all(xyz, torch.from_numpy(boxes)).nonzero(as_tuple=True)
        order = torch.argsort(box, stable=True)
        inside = np.split(point[order].numpy(), np.cumsum(np.bincount(box.numpy(), minlength=len(boxes)))[:-1])
        records, pieces = [], [points[:0]]
        for row, rows in zip(instances, inside, strict=True):
            if len(rows) >= self.min_points:
                pieces.append(points[rows])
                records.append(_record(row, token, pieces[-1]))
        return records, np.concatenate(pieces)


def _record(row: dict[str, Any], token: str, points: np.ndarray) -> dict[str, Any]:
    velocity = [v if v is not None and math.isfinite(v) else None for v in row.get("velocity") or (None, None)]
    lidar_points = row.get("num_lidar_pts")
    return {
        "class": CLASSES[row["bbox_label_3d"]],
        "box": [float(v) for v in row["bbox_3d"][:7]] + [None if v is None else float(v) for v in velocity],
        "num_points": len(points),
        "num_key_points": int((points[:, 4] == 0).sum()),
        "sample": token,
        # Info files write 0 where a table says nothing.
        "visibility": int(row["visibility"]) if row.get("visibility") else None,
        "num_lidar_pts": None if lidar_points is None else int(lidar_points),
    }


def _cut_all(cutter: _Cutter, samples: Iterable[dict[str, Any]], workers: int) -> Iterator[_Objects]:
    if workers == 1:
        yield from map(cutter, samples)
        return
    context = multiprocessing.get_context("spawn")  # a forked child may hang on a parent's threads
    with ProcessPoolExecutor(workers, context, _start_worker, (cutter,)) as pool:
        waiting: deque[Future[_Objects]] = deque()
        for info in samples:
            waiting.append(pool.submit(_cut_in_worker, info))
            if len(waiting) > 2 * workers:  # the bound on memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_worker_cutter: _Cutter


def _start_worker(cutter: _Cutter) -> None:
    global _worker_cutter
    _worker_cutter = cutter
    torch.set_num_threads(1)


def _cut_in_worker(info: dict[str, Any]) -> _Objects:
    return _worker_cutter(info)


def _write(folder: Path, header: dict[str, Any], frames: Iterable[_Objects]) -> Counter[str]:
    """Write both files as the frames come; returns the number of objects per class."""
    counts: Counter[str] = Counter()
    first_point = 0
    with open(folder / POINTS_FILE, "wb") as points_file, open(folder / INDEX_FILE, "w", encoding="utf-8") as index:
        index.write(json.dumps(header) + "\n")
        for records, points in frames:
            points_file.write(points.data)
            written = 0
            for record in records:
                row = {**record, "first_point": first_point}
                row["crc32"] = object_checksum(row, points[written : written + record["num_points"]])
                index.write(json.dumps(row, allow_nan=False) + "\n")
                first_point, written = first_point + record["num_points"], written + record["num_points"]
                counts[record["class"]] += 1
        for file in (points_file, index):
            file.flush()
            os.fsync(file.fileno())
    return counts


def _prepare(out: Path) -> Path:
    """The folder to write into, empty. What an earlier run left when it was killed is put right."""
    previous, partial = _beside(out, "previous"), _beside(out, "partial")
    if previous.is_dir() and not out.exists():
        previous.rename(out)
    if out.exists() and not (out.is_dir() and {file.name for file in out.iterdir()} <= {INDEX_FILE, POINTS_FILE}):
        raise FileExistsError(f"{out} exists and is no GT database: choose another folder")
    _remove(previous)
    _remove(partial)
    partial.mkdir(parents=True)
    return partial


def _publish(partial: Path, out: Path) -> None:
    previous = _beside(out, "previous")
    if out.exists():  # a folder cannot take another's place in one step
        out.rename(previous)
    partial.rename(out)
    _remove(previous)


def _remove(folder: Path) -> None:
    """Remove a database; anything else in the folder is not ours, and raises OSError."""
    if folder.is_dir():
        for name in (INDEX_FILE, POINTS_FILE):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")
