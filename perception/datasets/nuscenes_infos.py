"""Info files of a nuScenes dataroot, in mmdet3d's v1.1 layout: one entry per key frame with all that training needs.

Transforms keep mmdet3d's names here, since this is its format: `lidar2cam` is camera_from_lidar, ego-motion between the
two sensors' times included. Paths are relative to the dataroot, which `metainfo` records.
"""

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name
from tqdm import tqdm

from perception.datasets.bad_data import check_choice
from perception.datasets.file_check import SensorFile, bad_files, describe
from perception.datasets.info_files import INFO_VERSION, POINT_FEATURES, write_info_file
from perception.datasets.nuscenes_entries import CLASSES, sample_entry
from perception.datasets.nuscenes_reader import NuScenesReader
from perception.datasets.nuscenes_tables import TABLES, check_dataroot, splits_of
from perception.evaluation.json_file import write_json
from perception.whole_file import whole_file

__all__ = ["CLASSES", "create_info_files"]

_SAMPLES_PER_PART = 64
BAD_FILES = "bad_files.json"


def create_info_files(
    root: str | Path,
    version: str,
    out: str | Path,
    sweeps: int = 10,
    workers: int = 1,
    progress: bool = True,
    on_bad_data: str = "stop",
) -> dict[str, Path]:
    """Write `nuscenes_infos_<split>.json` into `out` for every split that the dataroot has samples of.

    Entries are built a part at a time in every worker and collected in `out/.nuscenes_infos.parts`, so that a run which
    was interrupted goes on with the same arguments; the folder goes when the files are there, each of which appears
    whole or not at all.

    Args:
        root, version: dataroot and the folder of its tables.
        sweeps: previous LiDAR sweeps listed per key frame; fewer where the scene has just begun.
        workers: processes that build the entries.
        on_bad_data: "stop" refuses a dataroot with a sensor file that is missing, empty or cut short. "skip" goes on
            without it: an image or a previous sweep is left out of its entries, a key frame without its cloud is left
            out whole, and out/bad_files.json names them all.

    Returns {split: path}. Raises FileNotFoundError or ValueError (one message that names what is wrong) before anything
    is written; files that were there are replaced only by whole ones.
    """
    if sweeps < 0 or workers < 1:
        raise ValueError(f"sweeps must be 0 or more and workers 1 or more, got {sweeps} and {workers}")
    check_choice(on_bad_data)
    root, out = Path(root), Path(out)
    check_dataroot(root, version)
    splits = splits_of(root, version)
    nusc = NuScenesReader(root, version)
    bad = check_sensor_files(nusc, sweeps, progress)
    if bad and on_bad_data == "stop":
        raise ValueError(
            describe(list(bad.values()), sum(1 for _ in _needed(nusc, sweeps)), root)
            + "; on_bad_data=skip goes on without them"
        )

    scene_names = {scene["token"]: scene["name"] for scene in nusc.scene}
    samples = sorted(nusc.sample, key=lambda sample: (scene_names[sample["scene_token"]], sample["timestamp"]))
    parts = _Parts(out, root, version, sweeps, sorted(bad))
    written, builder = {}, _EntryBuilder(nusc, sweeps, set(bad))
    for kind, split in splits.items():
        tokens = [sample["token"] for sample in samples if scene_names[sample["scene_token"]] in split.scenes]
        if tokens:
            metainfo = _metainfo(nusc, root, out, split.name, sweeps)
            written[kind] = out / f"nuscenes_infos_{kind}.json"
            bar = tqdm(total=len(tokens), desc=f"{kind} infos", unit="sample", disable=not progress)
            with bar:
                parts.make(kind, tokens, builder, workers, bar.update)
            if not write_info_file(written[kind], metainfo, parts.lines(kind, len(tokens))):
                raise ValueError(f"no key frame of split {kind} has a LiDAR file that can be read")
    if not written:
        known = ", ".join(sorted(scene_names.values())[:5])
        raise ValueError(f"none of the {len(nusc.scene)} scenes of {root / version} ({known}) is in any of its splits")
    if bad:
        write_json(out / BAD_FILES, {"count": len(bad), "files": bad}, indent=1)
    parts.remove()
    return written


def _metainfo(nusc: NuScenesReader, root: Path, out: Path, split: str, sweeps: int) -> dict[str, Any]:
    categories = {name: label for label, name in enumerate(CLASSES)}
    for category in nusc.category:
        categories.setdefault(category_to_detection_name(category["name"]) or category["name"], -1)
    inside = out.resolve() == root.resolve() or root.resolve() in out.resolve().parents
    return {
        "dataset": "nuscenes",
        "version": nusc.version,
        "info_version": INFO_VERSION,
        "split": split,
        "sweeps": sweeps,
        "categories": categories,
        "attributes": ATTRIBUTE_NAMES,
        # A dataroot that holds its own info files can be moved with them.
        "dataroot": os.path.relpath(root.resolve(), out.resolve()) if inside else str(root.resolve()),
    }


def _needed(nusc: NuScenesReader, sweeps: int) -> Iterator[dict[str, Any]]:
    return (record for record in nusc.sample_data if record["is_key_frame"] or sweeps)


def check_sensor_files(nusc: NuScenesReader, sweeps: int, progress: bool = True) -> dict[str, str]:
    """{path in the dataroot: what is wrong} of the sensor files that info files name: missing, empty or cut short."""
    root = os.path.join(nusc.dataroot, "")
    files = (
        SensorFile(root + record["filename"], POINT_FEATURES if record["sensor_modality"] == "lidar" else 0)
        for record in _needed(nusc, sweeps)
    )
    total = sum(1 for _ in _needed(nusc, sweeps))
    return {path.removeprefix(root): problem for path, problem in bad_files(files, total, progress=progress)}


class _EntryBuilder:
    """Entries of key frames as lines of JSON, without the files that are bad and with the sizes of the others."""

    def __init__(self, nusc: NuScenesReader, sweeps: int, bad: set[str]) -> None:
        self.nusc, self.sweeps, self.bad = nusc, sweeps, bad

    def __call__(self, token: str) -> str | None:
        entry = sample_entry(self.nusc, token, 0, self.sweeps)
        if entry["lidar_points"]["lidar_path"] in self.bad:
            return None
        images, previous = entry["images"].items(), entry["lidar_sweeps"]
        entry["images"] = {name: image for name, image in images if image["img_path"] not in self.bad}
        entry["lidar_sweeps"] = [row for row in previous if row["lidar_points"]["lidar_path"] not in self.bad]
        for row in (entry["lidar_points"], *(sweep["lidar_points"] for sweep in entry["lidar_sweeps"])):
            row["bytes"] = self._size(row["lidar_path"])
        for image in entry["images"].values():
            image["bytes"] = self._size(image["img_path"])
        return json.dumps(entry, allow_nan=False)

    def _size(self, path: str) -> int:
        """By which a file that is cut short later is known when it is read."""
        return os.stat(os.path.join(self.nusc.dataroot, path)).st_size


class _Parts:
    """Entries on disk, a few samples to a file, that outlive an interruption."""

    def __init__(self, out: Path, root: Path, version: str, sweeps: int, bad: list[str]) -> None:
        tables = [os.stat(root / version / f"{name}.json") for name in TABLES]
        facts = [str(root.resolve()), version, sweeps, bad, [(t.st_size, t.st_mtime_ns) for t in tables]]
        self.folder = out / ".nuscenes_infos.parts"
        # Parts of other tables or arguments are never taken for these.
        self.own = self.folder / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make(self, kind: str, tokens: list[str], builder: _EntryBuilder, workers: int, done: Any) -> None:
        """Build the parts that are not there yet; `done` is told how many samples each has."""
        self.own.mkdir(parents=True, exist_ok=True)
        jobs = []
        for first in range(0, len(tokens), _SAMPLES_PER_PART):
            job = (self._path(kind, first), tokens[first : first + _SAMPLES_PER_PART])
            if job[0].is_file():
                done(len(job[1]))
            else:
                jobs.append(job)
        global _worker_builder
        _worker_builder = builder
        if workers == 1:
            for count in map(_build_part, jobs):
                done(count)
            return
        # Forked workers share the tables, which their garbage collectors would copy by looking at them; nothing before
        # this point has started threads of numbers.
        gc.freeze()
        with multiprocessing.get_context("fork").Pool(min(workers, max(1, len(jobs)))) as pool:
            for count in pool.imap_unordered(_build_part, jobs):
                done(count)

    def lines(self, kind: str, count: int) -> Iterator[str]:
        """The entries in order, each with its number."""
        index = 0
        for first in range(0, count, _SAMPLES_PER_PART):
            with open(self._path(kind, first), encoding="utf-8") as file:
                for line in file:
                    yield line.rstrip("\n").replace('"sample_idx": 0', f'"sample_idx": {index}', 1)
                    index += 1

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _path(self, kind: str, first: int) -> Path:
        return self.own / f"{kind}-{first:07d}.jsonl"


_worker_builder: _EntryBuilder


def _build_part(job: tuple[Path, list[str]]) -> int:
    path, tokens = job
    with whole_file(path) as file:
        for token in tokens:
            if (line := _worker_builder(token)) is not None:
                file.write(line + "\n")
    return len(tokens)
