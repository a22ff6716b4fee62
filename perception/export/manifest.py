"""manifest.json: all that a program must know to run an artifact, without this project's Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import perception
from perception.camera.branch import IMAGE_MEAN, IMAGE_STD
from perception.export.preprocessing import ImagePreprocessing, PointPreprocessing, index_numbers
from perception.export.vehicle import BOX_NUMBERS, POINT_FEATURES, VehicleNetwork, VehicleShape
from perception.geometry.grid import BEVGrid
from perception.model import PerceptionNetwork

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
_MEANING = {
    "points": "x y z (m, LiDAR frame), intensity (0..255), age (s, exactly 0 for the key sweep)",
    "lidar_mask": "whether the LiDAR is there; without it there are no points",
    "images": "RGB; all zero for a missing camera",
    "image_from_lidar": "(u d, v d, d, 1) = image_from_lidar (x, y, z, 1) for the network's images (px, m)",
    "camera_mask": "which cameras are there; the matrix of a missing one is the identity",
}


@dataclass(frozen=True)
class ExportSpec:
    """What an artifact is made for, beside the network.

    Attributes:
        config: name of the config that the network is of.
        classes: name of each label.
        cameras: names in the order of the network's images; empty without a camera branch.
        points, images: preprocessing; None for a sensor that the network does not have.
        max_points: the most points of a frame, all sweeps together.
        score_threshold: detections below it are not reported.
        attributes: per class, nuScenes' attribute of a moving object and of one at rest ("" for none).
        moving_speed_mps: from this speed on an object moves.
        max_camera_lidar_gap_s: cameras further from the LiDAR in time are refused.

    Raises ValueError where these contradict each other.
    """

    config: str
    classes: tuple[str, ...]
    cameras: tuple[str, ...]
    points: PointPreprocessing | None
    images: ImagePreprocessing | None
    max_points: int
    score_threshold: float
    attributes: Mapping[str, tuple[str, str]]
    moving_speed_mps: float
    max_camera_lidar_gap_s: float

    def __post_init__(self) -> None:
        if (self.images is None) != (not self.cameras):
            raise ValueError(f"cameras {self.cameras} need image preprocessing, and it needs cameras")
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"a camera is named twice: {self.cameras}")
        if set(self.attributes) != set(self.classes):
            raise ValueError(f"attributes are for {sorted(self.attributes)}, classes are {sorted(self.classes)}")

    @property
    def shape(self) -> VehicleShape:
        size_hw = self.images.size_hw if self.images is not None else (0, 0)
        return VehicleShape(len(self.cameras), size_hw, self.max_points)


def weights_sha256(network: nn.Module) -> str:
    """Hash of the names, types, shapes and values of all weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def manifest_of(
    vehicle: VehicleNetwork,
    spec: ExportSpec,
    model: Path,
    precision: str,
    target: str = "aoti",
    inputs: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The manifest of the compiled `model` file; a plain dictionary, ready for JSON.

    `inputs` are the entries of a graph that takes other inputs than VehicleNetwork.
    """
    head = vehicle.network.head
    images = {**asdict(spec.images), "mean": IMAGE_MEAN, "std": IMAGE_STD} if spec.images is not None else None
    return {
        "format_version": FORMAT_VERSION,
        "artifact": {
            "file": model.name,
            "sha256": file_sha256(model),
            "bytes": model.stat().st_size,
            "target": target,
            "device": "cpu",
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "precision": precision,
        },
        "model": {"config": spec.config, "weights_sha256": weights_sha256(vehicle.network)},
        "versions": {"perception": perception.__version__, "torch": torch.__version__},
        "inputs": [input_entry(name, spec) for name in vehicle.input_names] if inputs is None else list(inputs),
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [head.candidates, BOX_NUMBERS],
             "meaning": "x y z of the centre, length width height (m), yaw (rad), vx vy (m/s); LiDAR frame"},
            {"name": "scores", "dtype": "float32", "shape": [head.candidates], "meaning": "descending before "
             "suppression; 0 is no detection", "range": [0, 1]},
            {"name": "labels", "dtype": "int64", "shape": [head.candidates], "range": [0, len(spec.classes) - 1]},
        ],
        "grid": grid_entry(vehicle.network),
        "classes": list(spec.classes),
        "cameras": list(spec.cameras),
        "preprocessing": {
            "points": asdict(spec.points) if spec.points is not None else None,
            "images": images,
            **({"indices": index_numbers(vehicle.network)} if target == "onnx" else {}),
        },
        "postprocessing": {
            "score_threshold": spec.score_threshold,
            "moving_speed_mps": spec.moving_speed_mps,
            "attributes": {name: list(pair) for name, pair in spec.attributes.items()},
        },
        "limits": {"max_points": spec.max_points, "max_camera_lidar_gap_s": spec.max_camera_lidar_gap_s},
    }  # fmt: skip


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of an artifact's directory.

    Raises FileNotFoundError; ValueError naming the file when it is not a manifest of this format.
    """
    path = Path(directory) / MANIFEST_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no {path}: make the artifact with tools/export.py") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"{path} has format version {version}, this code reads {FORMAT_VERSION}: export again")
    return dict(content)


def input_entry(name: str, spec: ExportSpec) -> dict[str, Any]:
    """What the manifest says of one of VehicleNetwork's inputs."""
    cameras, (rows, columns) = len(spec.cameras), spec.shape.image_hw
    points = {"dim": "points", "min": 0, "max": spec.max_points}
    dtype, shape, values = {
        "points": ("float32", [points, POINT_FEATURES], None),
        "lidar_mask": ("bool", [1], None),
        "images": ("uint8", [cameras, 3, rows, columns], [0, 255]),
        "image_from_lidar": ("float32", [cameras, 4, 4], None),
        "camera_mask": ("bool", [cameras], None),
    }[name]
    entry: dict[str, Any] = {"name": name, "dtype": dtype, "shape": shape, "meaning": _MEANING[name]}
    return {**entry, "range": values} if values is not None else entry


def grid_entry(network: PerceptionNetwork) -> dict[str, Any]:
    """What the manifest says of the bird's-eye-view grid."""
    lidar, camera = network.lidar, network.camera
    grid: BEVGrid = lidar.voxel_encoder.grid if lidar is not None else camera.lift.grid  # type: ignore[union-attr]
    return {"range_m": list(grid.point_cloud_range), "cell_m": list(grid.cell_m), "shape_zyx": list(grid.shape)}
