"""An artifact against the Python model on the same frames: what tools/verify_export.py calls.

perception-run is given files, as on a vehicle, and reads, decodes and merges them itself; nothing of the Python
pipeline helps it. Of an ONNX artifact only the graph is compared: ONNX Runtime gets what the pipeline has read. Besides
the frames as they are, the runtime sees them with sensors missing and with clouds of unusual sizes.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perception.datasets.frame_descriptions import write_folder
from perception.datasets.frames import read_frames
from perception.datasets.info_files import read_info_file, resolve_entry
from perception.datasets.sensor_files import read_points
from perception.datasets.transforms import LoadCameras
from perception.engine.inference import Detector
from perception.evaluation.json_file import write_json
from perception.evaluation.nuscenes_eval import evaluate_results
from perception.evaluation.nuscenes_results import NuScenesResults
from perception.export.manifest import read_manifest, weights_sha256

COUNTED_SCORE = 0.1
# Largest differences in fp32; m, m, m/s, 1 and rad.
TOLERANCES = {"centre": 1e-3, "size": 1e-3, "velocity": 1e-3, "score": 1e-3, "yaw": 1e-3}
# Largest difference of NDS in lower precisions, whose boxes differ.
NDS_TOLERANCES = {"fp16": 0.003, "bf16": 0.003, "int8": 0.005}
PROGRAM = Path("build/runtime/perception-run")

Frame = dict[str, Any]
Boxes = list[dict[str, Any]]
# Frames and a folder that it may make -> the boxes of each frame by token, as nuScenes' results.
Runtime = Callable[[list[Frame], Path], dict[str, Boxes]]


@dataclass
class Comparison:
    """One case: how many boxes above COUNTED_SCORE each side has over all frames, frames whose counts differ, and the
    largest differences of the boxes that belong together, by TOLERANCES' names."""

    case: str
    frames: int = 0
    boxes: tuple[int, int] = (0, 0)
    unequal_frames: list[str] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TOLERANCES, 0.0))

    @property
    def agrees(self) -> bool:
        return not self.unequal_frames and all(self.worst[key] <= limit for key, limit in TOLERANCES.items())


def verify(
    artifact: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    data: str | Path,
    program: str | Path = PROGRAM,
    limit: int | None = None,
    progress: Callable[[Comparison], None] = lambda _: None,
) -> list[Comparison]:
    """Compare case by case; `progress` hears of each as it is done.

    Args:
        data: an info file, or what `read_frames` takes.
        limit: take this many frames, evenly spread over the data.

    Raises FileNotFoundError, ImportError or ValueError naming what is missing, or when the artifact is damaged or of
    other weights.
    """
    manifest, detector = open_pair(artifact, config, checkpoint, program)
    runtime = open_runtime(artifact, config, checkpoint, program, detector)
    frames = _spread(load_frames(data), limit)
    comparisons = []
    with tempfile.TemporaryDirectory(prefix="verify-export-") as work:
        for case, change, count in _cases(manifest):
            folder = Path(work) / case.replace(" ", "-").replace(",", "")
            changed = [change(_copied(frame), folder) for frame in frames[: count or len(frames)]]
            comparisons.append(_compare(case, detector, changed, runtime(changed, folder)))
            progress(comparisons[-1])
    return comparisons


def score_difference(
    artifact: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    info_file: str | Path,
    program: str | Path = PROGRAM,
) -> tuple[float, float]:
    """NDS of the Python model and of the runtime over all frames of an info file, by the official code.

    Raises as `verify` does.
    """
    _, detector = open_pair(artifact, config, checkpoint, program)
    runtime = open_runtime(artifact, config, checkpoint, program, detector)
    metainfo, _ = read_info_file(info_file)
    root, frames = Path(info_file).parent / metainfo["dataroot"], load_frames(info_file)
    with tempfile.TemporaryDirectory(prefix="verify-export-") as work:
        sides = {
            "python": {frame["token"]: python_boxes(detector, frame) for frame in frames},
            "runtime": runtime(frames, Path(work) / "frames"),
        }
        meta = NuScenesResults().meta
        scores = [
            evaluate_results(
                write_json(Path(work) / name, {"meta": meta, "results": results}), root, metainfo["version"]
            )
            for name, results in sides.items()
        ]
    return scores[0]["NDS"], scores[1]["NDS"]


def open_pair(
    artifact: str | Path, config: str | Path, checkpoint: str | Path, program: str | Path
) -> tuple[dict[str, Any], Detector]:
    """The artifact's manifest and the Python model that it was made from, reading the same cameras.

    Raises FileNotFoundError or ValueError naming what is missing, or when the artifact is of other weights.
    """
    manifest = read_manifest(artifact)
    if manifest["artifact"]["target"] == "aoti" and not Path(program).is_file():
        raise FileNotFoundError(f"no program {program}: build it with `make runtime`")
    detector = Detector(config, checkpoint, device="cpu")
    if weights_sha256(detector.model.network) != manifest["model"]["weights_sha256"]:
        raise ValueError(f"{artifact} was not made from {checkpoint}: their weights differ; export again")
    for step in detector.pipeline.transforms:
        if isinstance(step, LoadCameras):
            step.cameras = manifest["cameras"]  # so that a missing one is a missing one in both
    return manifest, detector


def open_runtime(
    artifact: str | Path, config: str | Path, checkpoint: str | Path, program: str | Path, detector: Detector
) -> Runtime:
    """What runs the artifact: perception-run, or ONNX Runtime on what the detector's pipeline reads.

    Raises ImportError without onnxruntime, ValueError for a damaged graph; perception-run looks at its files itself.
    """
    manifest = read_manifest(artifact)
    if manifest["artifact"]["target"] == "onnx":
        from perception.engine.onnx_runtime import OnnxRuntimeNetwork

        onnx = Detector(config, checkpoint, device="cpu")
        onnx.pipeline = detector.pipeline
        onnx.model.network = OnnxRuntimeNetwork(artifact, onnx.model.network)
        return lambda frames, _: {frame["token"]: python_boxes(onnx, frame) for frame in frames}

    def run(frames: list[Frame], folder: Path) -> dict[str, Boxes]:
        write_folder(folder, frames, manifest["cameras"])
        return {token: line["detections"] for token, line in run_program(program, artifact, folder).items()}

    return run


def load_frames(data: str | Path) -> list[Frame]:
    """Frames of an info file, or of whatever `read_frames` takes."""
    data = Path(data)
    if data.suffix != ".json":
        return read_frames(data)
    metainfo, entries = read_info_file(data)
    for entry in entries:
        entry.pop("instances", None)
        resolve_entry(entry, data.parent / metainfo["dataroot"])
    return entries


def run_program(program: str | Path, artifact: str | Path, folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    """The program's line for every frame, by name. Raises ValueError with its message when it fails."""
    command = [str(program), str(artifact), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"{' '.join(command)} failed with {done.returncode}: {done.stderr.strip()}")
    return {line["frame"]: line for line in map(json.loads, done.stdout.splitlines())}


def _cases(manifest: dict[str, Any]) -> list[tuple[str, Callable[[Frame, Path], Frame], int | None]]:
    """(name, change of a frame, how many frames; None for all)."""
    cameras, lidar = manifest["cameras"], manifest["preprocessing"]["points"] is not None
    cases: list[tuple[str, Callable[[Frame, Path], Frame], int | None]] = [("as recorded", lambda f, _: f, None)]
    if cameras:
        cases += [
            ("one camera missing", lambda f, _: _without_images(f, cameras[:1]), 4),
            ("no cameras", lambda f, _: _without_images(f, cameras), 4),
        ]
    if lidar:
        bound = min(120_000, manifest["limits"]["max_points"])
        cases += [
            ("LiDAR missing", lambda f, _: _with_cloud(f, None), 4),
            ("empty cloud", lambda f, folder: _with_cloud(f, _random_cloud(f, folder, 0)), 2),
            ("1 point", lambda f, folder: _with_cloud(f, _random_cloud(f, folder, 1)), 2),
            (f"{bound} points", lambda f, folder: _with_cloud(f, _random_cloud(f, folder, bound)), 2),
        ]
    return cases


def _copied(frame: Frame) -> Frame:
    return {**frame, "images": dict(frame["images"]), "lidar_points": dict(frame["lidar_points"])}


def _without_images(frame: Frame, names: list[str]) -> Frame:
    frame["images"] = {name: image for name, image in frame["images"].items() if name not in names}
    return frame


def _with_cloud(frame: Frame, path: Path | None) -> Frame:
    # Another file has other bytes than the info file says.
    frame["lidar_points"].pop("bytes", None)
    frame["lidar_points"]["lidar_path"] = str(path) if path is not None else None
    frame["lidar_sweeps"] = []
    return frame


def _random_cloud(frame: Frame, folder: Path, count: int) -> Path:
    """A cloud of `count` points: those of the frame, again and again with a little noise."""
    rng = np.random.default_rng(count)
    own = read_points(frame["lidar_points"]["lidar_path"])
    points = own[rng.permutation(np.arange(count) % max(len(own), 1))] if len(own) else np.zeros((count, 5), np.float32)
    points = points + rng.normal(0, 0.05, points.shape).astype(np.float32) * np.array([1, 1, 1, 0, 0], np.float32)
    path = folder.with_name(f"{folder.name}-clouds") / f"{frame['token']}.bin"
    path.parent.mkdir(exist_ok=True)
    points.astype(np.float32).tofile(path)
    return path


def _spread(frames: list[Frame], limit: int | None) -> list[Frame]:
    if limit is None or limit >= len(frames):
        return frames
    return [frames[i] for i in np.linspace(0, len(frames) - 1, limit).round().astype(int)]


def python_boxes(detector: Detector, frame: Frame) -> Boxes:
    """The Python model's detections as nuScenes' results, in the global frame where the frame's pose is known."""
    found = detector(frame)
    pose = np.asarray(frame.get("ego2global", np.eye(4))) @ np.asarray(
        frame["lidar_points"].get("lidar2ego", np.eye(4))
    )
    results = NuScenesResults(found.class_names)
    results.add(frame["token"], found.boxes, found.scores, found.labels, pose)
    return results.samples[frame["token"]]


def _compare(case: str, detector: Detector, frames: list[Frame], found: dict[str, Boxes]) -> Comparison:
    out = Comparison(case, len(frames))
    for frame in frames:
        pair = python_boxes(detector, frame), found[frame["token"]]
        counts = tuple(sum(box["detection_score"] > COUNTED_SCORE for box in boxes) for boxes in pair)
        out.boxes = (out.boxes[0] + counts[0], out.boxes[1] + counts[1])
        if counts[0] != counts[1]:
            out.unequal_frames.append(frame["token"])
        for key, value in worst_differences(*pair).items():
            out.worst[key] = max(out.worst[key], value)
    return out


def worst_differences(python: Boxes, runtime: Boxes) -> dict[str, float]:
    """Largest differences between boxes above COUNTED_SCORE that belong together: same class, nearest centres first.

    A box without a partner makes every difference infinite.
    """
    first, second = ([b for b in boxes if b["detection_score"] > COUNTED_SCORE] for boxes in (python, runtime))
    worst = dict.fromkeys(TOLERANCES, 0.0)
    free = set(range(len(second)))
    for box in first:
        mates = [i for i in free if second[i]["detection_name"] == box["detection_name"]]
        if not mates:
            return dict.fromkeys(TOLERANCES, float("inf"))
        best = min(mates, key=lambda i: _gap(box, second[i], "translation"))
        free.remove(best)
        mate = second[best]
        # Of quaternions with either sign. The arc cosine of their product would lose half of the digits near zero.
        chord = min(float(np.linalg.norm(op(box["rotation"], mate["rotation"]))) for op in (np.subtract, np.add))
        yaw = 4 * np.arcsin(min(chord / 2, 1.0))
        differences = {
            "centre": _gap(box, mate, "translation"),
            "size": float(np.abs(np.subtract(box["size"], mate["size"])).max()),
            "velocity": float(np.abs(np.subtract(box["velocity"], mate["velocity"])).max()),
            "score": abs(box["detection_score"] - mate["detection_score"]),
            "yaw": float(yaw),
        }
        worst = {key: max(worst[key], value) for key, value in differences.items()}
    return dict.fromkeys(TOLERANCES, float("inf")) if free else worst


def _gap(a: dict[str, Any], b: dict[str, Any], key: str) -> float:
    return float(np.linalg.norm(np.subtract(a[key], b[key])))
