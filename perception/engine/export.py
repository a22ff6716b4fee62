"""From a config and a checkpoint to an artifact: what tools/export.py calls.

The artifact's preprocessing is read off the config's testing pipeline, so that the two cannot disagree.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from mmdet3d.registry import MODELS, TRANSFORMS
from mmengine.config import Config

from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame, RangeFilter
from perception.detector import FusionDetector
from perception.engine.checkpoints import load_weights
from perception.engine.quantize import calibration_images, quantize_backbone
from perception.engine.run import load_config
from perception.evaluation.nuscenes_results import MOVING_AND_RESTING, MOVING_SPEED_MPS
from perception.export.aoti import write_artifact
from perception.export.manifest import ExportSpec
from perception.export.onnx import write_onnx_artifact
from perception.export.preprocessing import ImagePreprocessing, PointPreprocessing
from perception.export.vehicle import Precision

# nuScenes' rig in the order of the data set's loader.
CAMERAS = ("CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT")
MAX_POINTS = 400_000  # ten sweeps of a 32-beam LiDAR are up to 350,000
CALIBRATION_FRAMES = 64
MAX_CAMERA_LIDAR_GAP_S = 0.1  # twice the most that nuScenes' key frames have


def export(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    precision: Precision | Literal["int8"] = "fp32",
    cameras: Sequence[str] = CAMERAS,
    max_points: int = MAX_POINTS,
    target: Literal["aoti", "onnx"] = "aoti",
    calibration_frames: int = CALIBRATION_FRAMES,
) -> Path:
    """Write the artifact of a trained detector into `out`; returns it.

    ONNX is float32, or with `int8` float32 but for the camera backbone, whose ranges are measured on
    `calibration_frames` frames of the training set; it needs the packages of the extra [onnx].

    Raises FileNotFoundError, FileExistsError or ValueError naming what is missing, in the way or not exportable.
    """
    if target == "onnx":
        if precision not in ("fp32", "int8"):
            raise ValueError(f"--target onnx is fp32 or int8; --precision {precision} is for --target aoti")
        needed = ("onnx", "onnxscript") + ("onnxruntime",) * (precision == "int8")
        if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
            raise ImportError(f"--target onnx needs {', '.join(missing)}: pip install 'perception[onnx]'")
    elif precision == "int8":
        raise ValueError("--precision int8 is for --target onnx")
    cfg = load_config(config)
    detector = MODELS.build(cfg.model)
    load_weights(detector, str(checkpoint))
    spec = export_spec(cfg, detector, Path(config).name, cameras, max_points)
    if precision == "int8":
        quantize = _quantization(cfg, detector, spec, calibration_frames)
        return write_onnx_artifact(detector.network, spec, out, _check_onnx, quantize)
    if target == "onnx":
        return write_onnx_artifact(detector.network, spec, out, _check_onnx)
    return write_artifact(detector.network, spec, out, precision)


def _quantization(
    config: Config, detector: FusionDetector, spec: ExportSpec, frames: int
) -> Callable[[Path], dict[str, Any]]:
    """What quantizes a model file. Missing cameras or frames are found here, before minutes of tracing."""
    if detector.network.camera is None:
        raise ValueError(f"--precision int8 quantizes the camera backbone, and {spec.config} has no cameras")
    images = calibration_images(config, spec.cameras, frames)
    return lambda model: quantize_backbone(model, images)


def _check_onnx(model: Path) -> None:
    """ONNX's own checker, types and shapes included; and that all operators are standard ones."""
    import onnx

    onnx.checker.check_model(str(model), full_check=True)
    graph = onnx.load(str(model)).graph
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in graph.node if node.domain})
    if foreign:
        raise ValueError(f"the graph has operators that are not ONNX's own: {', '.join(foreign)}")


def export_spec(
    config: Config,
    detector: FusionDetector,
    name: str,
    cameras: Sequence[str] = CAMERAS,
    max_points: int = MAX_POINTS,
) -> ExportSpec:
    """The spec of a config: its testing pipeline, classes and thresholds.

    Raises ValueError when the pipeline has a step that a runtime does not know, or one that is random.
    """
    steps = [TRANSFORMS.build(step) for step in config.test_dataloader.dataset.pipeline]
    known = (LoadSweeps, LoadCameras, ImageAugment, RangeFilter, PackFrame)
    for step in steps:
        if not isinstance(step, known):
            raise ValueError(
                f"{name}: the testing pipeline has {type(step).__name__}, which artifacts cannot describe; they know "
                f"{', '.join(kind.__name__ for kind in known)}"
            )
    by_kind = {type(step): step for step in steps}
    network = detector.network
    classes = tuple(config.get("class_names", CLASSES))
    return ExportSpec(
        config=name,
        classes=classes,
        cameras=tuple(by_kind[LoadCameras].cameras or cameras) if network.camera is not None else (),
        points=_points(by_kind, name) if network.lidar is not None else None,
        images=_images(by_kind, name) if network.camera is not None else None,
        max_points=max_points,
        score_threshold=detector.score_threshold,
        attributes={c: MOVING_AND_RESTING[c] for c in classes},
        moving_speed_mps=MOVING_SPEED_MPS,
        max_camera_lidar_gap_s=MAX_CAMERA_LIDAR_GAP_S,
    )


def _points(steps: dict[type, Any], name: str) -> PointPreprocessing:
    if LoadSweeps not in steps:
        raise ValueError(f"{name}: the network has a LiDAR branch, its testing pipeline no LoadSweeps")
    load, keep = steps[LoadSweeps], steps.get(RangeFilter)
    range_m = tuple(float(v) for v in (*keep.lower, *keep.upper)) if keep is not None else None
    return PointPreprocessing(load.sweeps, load.every, load.remove_close_m, range_m)


def _images(steps: dict[type, Any], name: str) -> ImagePreprocessing:
    if LoadCameras not in steps or ImageAugment not in steps:
        raise ValueError(
            f"{name}: the network has a camera branch, its testing pipeline lacks LoadCameras or ImageAugment"
        )
    resize: ImageAugment = steps[ImageAugment]
    intervals = {"scale": resize.scale, "crop_x": resize.crop_x, "crop_y": resize.crop_y}
    spread = [key for key, (low, high) in intervals.items() if low != high]
    spread += [key for key in ("flip", "brightness", "contrast", "saturation") if getattr(resize, key)]
    spread += ["rotate_rad"] * (tuple(resize.rotate_rad) != (0.0, 0.0))
    if spread:
        raise ValueError(f"{name}: ImageAugment of the testing pipeline is random or turns ({', '.join(spread)})")
    return ImagePreprocessing(resize.size_hw, steps[LoadCameras].min_hw, *(float(low) for low, _ in intervals.values()))
