"""What clouds and images usually look like, and frames that do not: compared with the recordings a model was trained
on."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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


@dataclass
class Gathered:
    """figures: {sensor: {name: [F]}} over the frames that have them; unreadable: {sensor: messages that name the
    file}."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    unreadable: dict[str, list[str]] = field(default_factory=dict)

    def add(self, sensor: str, measure: Callable[[], dict[str, float]]) -> None:
        """Take a sensor's figures; a file that cannot be read is kept by its message, one that is not there left
        out."""
        try:
            values = measure()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.unreadable.setdefault(sensor, []).append(str(error))
            return
        for name, value in values.items():
            self.figures.setdefault(sensor, {}).setdefault(name, []).append(value)


def gather(frames: Iterable[Mapping[str, Any]]) -> Gathered:
    """The figures of every sensor over key frames (info entries)."""
    gathered = Gathered()
    for frame in frames:
        if frame["lidar_path"]:
            features = frame["lidar_points"].get("num_pts_feats", 5)
            gathered.add(LIDAR, partial(_cloud_file, frame["lidar_path"], features))
        for name, entry in frame["images"].items():
            gathered.add(name, partial(_image_file, entry["img_path"]))
    return gathered


def _cloud_file(path: str, features: int) -> dict[str, float]:
    return cloud_figures(read_points(path, features))


def _image_file(path: str) -> dict[str, float]:
    return image_figures(read_image(path, (1, 400))[0])


def summarise(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, dict[str, float]]]:
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


def odd_figures(figures: Mapping[str, Sequence[float]], usual: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The figures of a sensor that are odd in some frames, with the share of frames."""
    odd = {}
    for name, listed in figures.items():
        if name not in usual:
            continue
        values = np.asarray(listed)
        low, high = usual[name]["low"], usual[name]["high"]
        slack = MARGIN * (high - low) + 1e-3 * max(abs(low), abs(high))
        share = float(((values < low - slack) | (values > high + slack)).mean())
        if share > 0:
            odd[name] = share
    return odd


def write_reference(path: str | Path, frames: Sequence[Mapping[str, Any]], progress: bool = True) -> Path:
    """Write the statistics of a training set's key frames as JSON, for `read_reference`."""
    figures = gather(tqdm(frames, "statistics", unit="frame", disable=not progress)).figures
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
