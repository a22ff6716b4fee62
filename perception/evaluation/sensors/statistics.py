"""What clouds and images usually look like, and frames that do not: compared with the recordings a model was trained
on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception.datasets.sensor_files import read_image, read_points
from perception.evaluation.json_file import write_json
from perception.evaluation.sensors.recording import LIDAR

SECTORS = 36
FORMAT = 1
# A frame is odd when a figure leaves the range of the training frames by more than this share of that range.
MARGIN = 0.5


def cloud_figures(points: np.ndarray) -> dict[str, float]:
    """Figures of one sweep [P,4 or more]: x y z (m), intensity (0..255 as recorded).

    points; range_median_m; intensity_mean; intensity_high (share above 100); low_m (1st percentile of z: the road);
    empty_sectors (of 36 around the car).
    """
    flat = np.hypot(points[:, 0], points[:, 1])
    kept = points[flat > 2.0]
    if not len(kept):
        return {"points": float(len(points)), "empty_sectors": float(SECTORS)}
    sector = ((np.arctan2(kept[:, 1], kept[:, 0]) + np.pi) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    figures = {
        "points": float(len(points)),
        "range_median_m": float(np.median(flat[flat > 2.0])),
        "low_m": float(np.percentile(kept[:, 2], 1)),
        "empty_sectors": float((np.bincount(sector, minlength=SECTORS) == 0).sum()),
    }
    if points.shape[1] > 3:
        figures |= {
            "intensity_mean": float(kept[:, 3].mean()),
            "intensity_high": float((kept[:, 3] > 100).mean()),
        }
    return figures


def image_figures(image: np.ndarray) -> dict[str, float]:
    """Figures of one image RGB [H,W,3] uint8: brightness (mean, 0..255), contrast (standard deviation), detail (mean
    step between neighbouring pixels, relative to the contrast)."""
    grey = image.mean(axis=2)
    contrast = float(grey.std())
    return {
        "brightness": float(grey.mean()),
        "contrast": contrast,
        "detail": float(np.abs(np.diff(grey, axis=1)).mean() / max(contrast, 1.0)),
    }


def frame_figures(frame: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Figures of every sensor of a key frame that has a readable file."""
    figures = {}
    try:
        if frame["lidar_path"]:
            points = read_points(frame["lidar_path"], frame["lidar_points"].get("num_pts_feats", 5))
            figures[LIDAR] = cloud_figures(points)
    except (OSError, ValueError):  # the file checks name it
        pass
    for name, entry in frame["images"].items():
        try:
            figures[name] = image_figures(read_image(entry["img_path"], (1, 400))[0])
        except (OSError, ValueError):
            continue
    return figures


def gather(frames: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """{sensor: {figure: [F]}} over frames."""
    table: dict[str, dict[str, list[float]]] = {}
    for frame in frames:
        for sensor, figures in frame_figures(frame).items():
            for name, value in figures.items():
                table.setdefault(sensor, {}).setdefault(name, []).append(value)
    return {sensor: {name: np.array(values) for name, values in figures.items()} for sensor, figures in table.items()}


def summarise(figures: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, dict[str, float]]]:
    """{sensor: {figure: {low, median, high, frames}}}: the 0.5th, 50th and 99.5th percentiles, for the JSON file."""
    return {
        sensor: {
            name: {
                "low": float(np.percentile(values, 0.5)),
                "median": float(np.median(values)),
                "high": float(np.percentile(values, 99.5)),
                "frames": len(values),
            }
            for name, values in of_sensor.items()
        }
        for sensor, of_sensor in figures.items()
    }


def odd_figures(figures: Mapping[str, np.ndarray], usual: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The figures of a sensor that are odd in some frames, with the share of frames."""
    odd = {}
    for name, values in figures.items():
        if name not in usual:
            continue
        low, high = usual[name]["low"], usual[name]["high"]
        slack = MARGIN * (high - low) + 1e-3 * max(abs(low), abs(high))
        share = float(((values < low - slack) | (values > high + slack)).mean())
        if share > 0:
            odd[name] = share
    return odd


def write_reference(path: str | Path, frames: Sequence[Mapping[str, Any]], progress: bool = True) -> Path:
    """Write the statistics of a training set's key frames as JSON, for `read_reference`."""
    figures = gather(tqdm(frames, "statistics", unit="frame", disable=not progress))
    return write_json(path, {"format": FORMAT, "frames": len(frames), "sensors": summarise(figures)}, indent=1)


def read_reference(path: str | Path) -> dict[str, dict[str, dict[str, float]]]:
    """Statistics by sensor and figure; FileNotFoundError, or ValueError naming the file where it holds none."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no reference {path}; make it with tools/check_sensors.py --write-reference")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return dict(content["sensors"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no reference of tools/check_sensors.py ({error}); write it anew") from error
