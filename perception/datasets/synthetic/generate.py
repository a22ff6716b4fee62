"""Generates a nuScenes-format data set of the synthetic world."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from perception.datasets.synthetic.camera import Renderer
from perception.datasets.synthetic.lidar import LidarScanner
from perception.datasets.synthetic.rig import FULL_SIZE_PX, KEYFRAME_PERIOD_S, LIDAR, SWEEP_PERIOD_S, Rig, make_rig
from perception.datasets.synthetic.road import LABEL_M, MARKING
from perception.datasets.synthetic.shapes import Label
from perception.datasets.synthetic.tables import (
    BOX_CLEARANCE_M,
    SceneTables,
    Tables,
    annotated_size,
    common_tables,
    write_tables,
)
from perception.datasets.synthetic.world import Scene, make_scene

FORMAT = 3  # raise it when the same parameters would give other bytes
MARKER = "synthetic.json"
ANNOTATION_RANGE_M = 75.0
JPEG_QUALITY = 85
_MAP_M = 0.1
_FIRST_US = 1_600_000_000_000_000
_SCENE_US = 100_000_000

_progress: Synchronized[int] | None = None


@dataclass(frozen=True)
class Parameters:
    """All that the bytes of a data set depend on."""

    train_scenes: int
    val_scenes: int
    keyframes_per_scene: int
    seed: int
    image_size: tuple[int, int] = FULL_SIZE_PX
    format: int = FORMAT

    def __post_init__(self) -> None:
        train, val = official_scene_names()
        for name, value, most in (
            ("train_scenes", self.train_scenes, len(train)),
            ("val_scenes", self.val_scenes, len(val)),
        ):
            if not 0 <= value <= most:
                raise ValueError(f"{name} is {value}; nuScenes' official split allows 0 to {most}")
        if self.train_scenes + self.val_scenes == 0:
            raise ValueError("train_scenes and val_scenes are both 0: there is nothing to generate")
        if not 1 <= self.keyframes_per_scene <= 60:
            raise ValueError(f"keyframes_per_scene is {self.keyframes_per_scene}; a scene holds 1 to 60 key frames")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        make_rig(self.image_size)


@dataclass(frozen=True)
class _Task:
    """One scene to write."""

    root: Path
    split: int  # 0 train, 1 val
    index: int
    name: str
    parameters: Parameters


def official_scene_names() -> tuple[list[str], list[str]]:
    """Scene names of nuScenes' official train and val splits, by which the devkit tells them apart."""
    from nuscenes.utils import splits  # the devkit takes seconds to import; --help must not pay for it

    return list(splits.train), list(splits.val)


def generate_dataroot(
    out: str | Path,
    train_scenes: int,
    val_scenes: int,
    keyframes_per_scene: int,
    seed: int = 0,
    workers: int | None = None,
    image_size: tuple[int, int] = FULL_SIZE_PX,
    progress: bool = True,
) -> Path:
    """Write a dataroot (version v1.0-trainval) that nuscenes-devkit loads; returns its path.

    The same parameters give the same bytes, whatever the number of workers (None: one per CPU core). A finished
    data set of the same parameters is left as it is; one of other parameters is replaced. Raises ValueError for
    parameters out of range and FileExistsError where `out` holds anything that this generator has not written.
    """
    out = Path(out)
    parameters = Parameters(
        train_scenes, val_scenes, keyframes_per_scene, seed, (int(image_size[0]), int(image_size[1]))
    )
    description = {"generator": "perception.datasets.synthetic", **asdict(parameters)}
    description["image_size"] = list(parameters.image_size)
    if _is_ours_or_free(out) and (out / MARKER).exists() and json.loads((out / MARKER).read_text()) == description:
        return out
    partial = out.with_name(out.name + ".partial")
    if _is_ours_or_free(partial) and partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / MARKER).write_text(json.dumps({"unfinished": True}))
    (partial / "maps").mkdir()

    names = official_scene_names()
    tasks = [
        _Task(partial, split, index, names[split][index], parameters)
        for split, count in enumerate((train_scenes, val_scenes))
        for index in range(count)
    ]
    rig = make_rig(parameters.image_size)
    for channel in (LIDAR, *(c.channel for c in rig.cameras)):
        (partial / "samples" / channel).mkdir(parents=True)
    (partial / "sweeps" / LIDAR).mkdir(parents=True)
    scenes = _run(tasks, min(workers or os.cpu_count() or 1, len(tasks)), keyframes_per_scene, progress)
    write_tables(partial, [common_tables(rig), *scenes])
    (partial / MARKER).write_text(json.dumps(description, indent=1))
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return out


def _is_ours_or_free(folder: Path) -> bool:
    if folder.is_dir() and ((folder / MARKER).exists() or not any(folder.iterdir())):
        return True
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists and is no synthetic data set (no {MARKER} in it): choose another folder"
        )
    return True


def _run(tasks: list[_Task], workers: int, keyframes: int, progress: bool) -> list[Tables]:
    """Tables of all scenes in the order of the tasks."""
    with tqdm(total=len(tasks) * keyframes, desc="synthetic world", unit="frame", disable=not progress) as bar:
        if workers <= 1:
            threads = cv2.getNumThreads()
            cv2.setNumThreads(0)
            try:
                return [_write_scene(task, bar.update) for task in tasks]
            finally:
                cv2.setNumThreads(threads)
        context = multiprocessing.get_context("spawn")  # a forked child may hang on a parent's threads
        counter = context.Value("q", 0)
        with ProcessPoolExecutor(workers, context, _start_worker, (counter,)) as pool:
            futures = [pool.submit(_write_scene_in_worker, task) for task in tasks]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(counter.value - bar.n)
                for future in done:
                    future.result()
            return [future.result() for future in futures]


def _start_worker(counter: Synchronized[int]) -> None:
    global _progress
    _progress = counter
    cv2.setNumThreads(0)


def _write_scene_in_worker(task: _Task) -> Tables:
    def advance(frames: int) -> None:
        if _progress is not None:
            with _progress.get_lock():
                _progress.value += frames

    return _write_scene(task, advance)


def scene_seeds(seed: int, split: int, index: int) -> list[np.random.SeedSequence]:
    """Where the chance of a scene comes from: its world, its pictures' textures, and its noise."""
    return np.random.SeedSequence([seed, split, index]).spawn(3)


def start_of(split: int, index: int) -> int:
    """Time of a scene's first key frame (us)."""
    return _FIRST_US + (split * 1000 + index) * _SCENE_US


def picture_name(log: str, channel: str, start_us: int, time_s: float) -> str:
    """File of a camera's picture at a time (s) after the scene's first key frame, relative to the dataroot."""
    return f"samples/{channel}/{log}__{channel}__{start_us + round(time_s * 1e6)}.jpg"


def _write_scene(task: _Task, advance: Callable[[int], object]) -> Tables:
    """Record one scene: files and rows."""
    parameters = task.parameters
    world, pictures, noise = scene_seeds(parameters.seed, task.split, task.index)
    scene = make_scene(world, task.index, parameters.keyframes_per_scene)
    rig = make_rig(parameters.image_size)
    log = f"synthetic-{parameters.seed}-{task.name}"
    tables = SceneTables(task.name, log, "synthetic-town")
    renderer = Renderer(scene, parameters.image_size, np.random.default_rng(pictures))
    scanner = LidarScanner(scene, rig.ego_from_lidar)
    start_us = start_of(task.split, task.index)
    rng = np.random.default_rng(noise)
    sweeps = round(KEYFRAME_PERIOD_S / SWEEP_PERIOD_S)
    _write_map(task.root / "maps" / f"{log}.png", scene)
    for keyframe in range(parameters.keyframes_per_scene):
        # The recording begins one period before the first key frame, so that it has its sweeps like any other.
        for sweep in range(1 - sweeps if keyframe else -sweeps, 0):
            _write_sweep(task.root, tables, scanner, keyframe, sweep, start_us, rng)
        time_s = keyframe * KEYFRAME_PERIOD_S
        tables.add_sample(keyframe, start_us + round(time_s * 1e6))
        points = _write_sweep(task.root, tables, scanner, keyframe, 0, start_us, rng)
        visible, alone = _write_pictures(task.root, tables, renderer, rig, keyframe, start_us, rng)
        _annotate(tables, scene, rig, keyframe, points, visible / np.maximum(alone, 1))
        advance(1)
    return tables.finish(f"synthetic, {scene.weather.kind}")


def _write_sweep(
    root: Path,
    tables: SceneTables,
    scanner: LidarScanner,
    keyframe: int,
    sweep: int,
    start_us: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A sweep (0: the key frame's, below 0: sweeps before it); its points [P,5]."""
    time_s = keyframe * KEYFRAME_PERIOD_S + sweep * SWEEP_PERIOD_S
    points = scanner.scan(time_s, rng)
    timestamp = start_us + round(time_s * 1e6)
    folder = "sweeps" if sweep else "samples"
    filename = f"{folder}/{LIDAR}/{tables.log}__{LIDAR}__{timestamp}.pcd.bin"
    points.tofile(root / filename)
    # As in nuScenes, a sweep belongs to the key frame that is closest in time.
    sweeps = round(KEYFRAME_PERIOD_S / SWEEP_PERIOD_S)
    nearest = keyframe if -sweep <= sweeps // 2 else max(keyframe - 1, 0)
    tables.add_data(LIDAR, nearest, timestamp, scanner.scene.ego_pose(time_s), filename, is_key=sweep == 0)
    return points


def _write_pictures(
    root: Path,
    tables: SceneTables,
    renderer: Renderer,
    rig: Rig,
    keyframe: int,
    start_us: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The six pictures; pixels [A] of each actor that are seen, and that would be with nothing before it."""
    visible = np.zeros(len(renderer.scene.actors))
    alone = np.zeros_like(visible)
    for sensor in rig.cameras:
        time_s = keyframe * KEYFRAME_PERIOD_S + sensor.trigger_offset_s
        view = renderer.render(sensor, time_s, rng)
        timestamp = start_us + round(time_s * 1e6)
        filename = picture_name(tables.log, sensor.channel, start_us, time_s)
        coded, data = cv2.imencode(".jpg", view.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not coded:
            raise OSError(f"{root / filename}: OpenCV could not encode the picture")
        (root / filename).write_bytes(data.tobytes())
        pose = renderer.scene.ego_pose(time_s)
        tables.add_data(sensor.channel, keyframe, timestamp, pose, filename, is_key=True, size=rig.image_size)
        visible += view.visible_px
        alone += view.alone_px
    return visible, alone


def _annotate(
    tables: SceneTables, scene: Scene, rig: Rig, keyframe: int, points: np.ndarray, visible: np.ndarray
) -> None:
    """Boxes of all actors about the car."""
    time_s = keyframe * KEYFRAME_PERIOD_S
    ego = scene.ego_pose(time_s)
    poses = scene.actor_poses(time_s)
    velocity = (scene.actor_poses(time_s + SWEEP_PERIOD_S) - scene.actor_poses(time_s - SWEEP_PERIOD_S)) / (
        2 * SWEEP_PERIOD_S
    )
    speed = np.linalg.norm(velocity[:, :2], axis=1)
    in_ego = points[:, :3].astype(np.float64) @ rig.ego_from_lidar[:3, :3].T + rig.ego_from_lidar[:3, 3]
    cos, sin = np.cos(ego[3]), np.sin(ego[3])
    x = in_ego[:, 0] * cos - in_ego[:, 1] * sin + ego[0]
    y = in_ego[:, 0] * sin + in_ego[:, 1] * cos + ego[1]
    near = np.linalg.norm(poses[:, :2] - ego[:2], axis=1) < ANNOTATION_RANGE_M
    for index in np.flatnonzero(near):
        actor, pose = scene.actors[index], poses[index]
        length, width, height = annotated_size(actor)
        dx, dy = x - pose[0], y - pose[1]
        along = dx * np.cos(pose[3]) + dy * np.sin(pose[3])
        across = dy * np.cos(pose[3]) - dx * np.sin(pose[3])
        up = in_ego[:, 2] - BOX_CLEARANCE_M
        inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2) & (up >= 0) & (up <= height)
        tables.add_annotation(
            keyframe, int(index), actor, pose, float(speed[index]), float(visible[index]), int(inside.sum())
        )


def _write_map(path: Path, scene: Scene) -> None:
    """The drivable area as nuScenes' map masks have it: 0.1 m per pixel, white, global origin at the lower left."""
    ground = scene.ground
    drivable = np.isin(ground.labels, (int(Label.ROAD), MARKING)).astype(np.uint8) * 255
    n = round(ground.labels.shape[0] * LABEL_M / _MAP_M)
    picture = cv2.resize(drivable, (n, n), interpolation=cv2.INTER_NEAREST)
    left, low = np.round(ground.origin / _MAP_M).astype(int)
    canvas = np.zeros((n + low, n + left), dtype=np.uint8)
    canvas[low:, left:] = picture
    if not cv2.imwrite(str(path), canvas[::-1]):
        raise OSError(f"{path}: OpenCV could not write the map")
