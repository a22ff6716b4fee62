"""The true masks of a synthetic data set in COCO's panoptic format: its scenes are made again, as its seed says."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.synthetic.camera import Renderer
from perception.datasets.synthetic.generate import MARKER, official_scene_names, picture_name, scene_seeds, start_of
from perception.datasets.synthetic.rig import KEYFRAME_PERIOD_S, make_rig
from perception.datasets.synthetic.shapes import Label
from perception.datasets.synthetic.world import make_scene
from perception.panoptic.files import categories, segment_folder, segments_info, write_segments
from perception.whole_file import whole_file

SPLITS = ("train", "val")
MIN_PIXELS = 20  # of the recorded image; smaller things are void
_GROUND = (Label.ROAD, Label.SIDEWALK, Label.TERRAIN)
_STRUCTURE = (Label.BUILDING, Label.VEGETATION, Label.OBSTACLE)


def write_panoptic(
    root: str | Path, every: int = 1, workers: int = 1, progress: bool = True, scenes: int | None = None
) -> dict[str, Any]:
    """Write root/panoptic_{train,val}.json and their folders of PNGs.

    Args:
        root: dataroot that `generate_dataroot` made.
        every: take every n-th picture of a scene, counted over key frames and cameras.
        workers: processes.
        scenes: take so many scenes of each split at most.

    Returns {"written": paths, "images": {split: number}}.

    Raises FileNotFoundError where `root` is no synthetic data set, ValueError for `every` or `scenes` below 1.
    """
    root = Path(root)
    if not (root / MARKER).is_file():
        raise FileNotFoundError(
            f"{root} is no synthetic data set (no {MARKER} in it): make it with create_data.py synthetic"
        )
    if every < 1 or (scenes is not None and scenes < 1):
        raise ValueError(f"every ({every}) and scenes ({scenes}) must be at least 1")
    made = json.loads((root / MARKER).read_text())
    counts = [min(made[f"{split}_scenes"], scenes or made[f"{split}_scenes"]) for split in SPLITS]
    tasks = [(root, split, index, every, made) for split, count in enumerate(counts) for index in range(count)]
    for name in SPLITS:
        segment_folder(root / f"panoptic_{name}.json").mkdir(exist_ok=True)
    entries: list[list[dict[str, Any]]] = [[], []]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        results = pool.map(_scene_masks, tasks) if workers > 1 else map(_scene_masks, tasks)
        for task, rows in zip(
            tasks, tqdm(results, "masks", len(tasks), unit="scene", disable=not progress), strict=True
        ):
            entries[task[1]] += rows
    written = []
    for name, rows in zip(SPLITS, entries, strict=True):
        images, annotations = [], []
        for number, row in enumerate(rows, start=1):
            images.append({"id": number, **row["image"]})
            annotations.append({"image_id": number, "file_name": row["png"], "segments_info": row["segments"]})
        path = root / f"panoptic_{name}.json"
        content = {"categories": categories(), "images": images, "annotations": annotations}
        with whole_file(path) as file:
            json.dump(content, file)
        written.append(str(path))
    return {"written": written, "images": dict(zip(SPLITS, map(len, entries), strict=True))}


def _scene_masks(task: tuple[Path, int, int, int, dict[str, Any]]) -> list[dict[str, Any]]:
    root, split, index, every, made = task
    name = official_scene_names()[split][index]
    size = (int(made["image_size"][0]), int(made["image_size"][1]))
    world, pictures, _ = scene_seeds(made["seed"], split, index)
    scene = make_scene(world, index, made["keyframes_per_scene"])
    renderer = Renderer(scene, size, np.random.default_rng(pictures))
    classes = np.array([CLASSES.index(actor.class_name) for actor in scene.actors], dtype=np.int64)
    folder = segment_folder(root / f"panoptic_{SPLITS[split]}.json")
    sensors = make_rig(size).cameras
    rows = []
    # Scenes begin at different pictures, so that with any `every` all cameras are seen.
    for number in range(index % every, made["keyframes_per_scene"] * len(sensors), every):
        keyframe, sensor = number // len(sensors), sensors[number % len(sensors)]
        time_s = keyframe * KEYFRAME_PERIOD_S + sensor.trigger_offset_s
        picture = picture_name(f"synthetic-{made['seed']}-{name}", sensor.channel, start_of(split, index), time_s)
        if not (root / picture).is_file():
            raise FileNotFoundError(f"{root / picture} is missing: {MARKER} does not describe this data set")
        segment, category_of = panoptic_of(*renderer.masks(sensor, time_s), classes)
        png = f"{Path(picture).stem}.png"
        write_segments(folder / png, segment)
        image = {"file_name": picture, "width": size[0], "height": size[1]}
        rows.append({"image": image, "png": png, "segments": segments_info(segment, category_of)})
    return rows


def panoptic_of(instance: np.ndarray, label: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Segment numbers [H,W] and {number: category id} of the renderer's masks.

    instance [H,W] actor or -1; label [H,W]; classes [A] of the actors. Stuff has the numbers 1, 2, 3, actors follow.
    """
    stuff = len(CLASSES) + 1
    lookup = np.zeros(256, dtype=np.int64)
    lookup[[int(value) for value in _GROUND]] = 1
    lookup[[int(value) for value in _STRUCTURE]] = 2
    lookup[int(Label.SKY)] = 3
    counts = np.bincount(instance[instance >= 0], minlength=len(classes))
    number = np.where(counts >= MIN_PIXELS, np.arange(len(classes)) + 4, 0)
    segment = np.where(instance >= 0, number[np.maximum(instance, 0)], lookup[label]) if len(classes) else lookup[label]
    category_of = {1: stuff, 2: stuff + 1, 3: stuff + 2}
    category_of |= {actor + 4: int(own) + 1 for actor, own in enumerate(classes)}
    return segment, category_of
