"""Whether an artifact still gives the boxes that it gave, as fast against eager Python as it was: a committed reference
and what has drifted from it (`tools/verify_export.py --replay`)."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from perception.datasets.frame_descriptions import write_folder
from perception.datasets.frames import frame_inputs
from perception.engine.inference import Detector
from perception.engine.verify_export import (
    COUNTED_SCORE,
    PROGRAM,
    TOLERANCES,
    Frame,
    load_frames,
    open_pair,
    run_program,
    worst_differences,
)
from perception.evaluation.json_file import write_json
from perception.export.manifest import read_manifest
from perception.export.vehicle import VehicleNetwork

# The ratio may fall to this share of the reference's: medians of alternating runs differ by less between runs.
RATIO_SHARE = 0.75


class NetworkTimes(NamedTuple):
    """Median times of the network on the same frames (ms), and the runtime's lines of the last round."""

    runtime_ms: float
    eager_ms: float
    lines: dict[str, dict[str, Any]]

    @property
    def ratio(self) -> float:
        return self.eager_ms / self.runtime_ms


def network_times(
    artifact: str | Path,
    detector: Detector,
    cameras: list[str],
    frames: list[Frame],
    program: str | Path = PROGRAM,
    rounds: int = 3,
) -> NetworkTimes:
    """The runtime's network and the eager Python network in turn, on as many threads, without what prepares frames.

    Each side's first frame of every round warms it up and is not counted, unless there is no other.
    """
    vehicle = VehicleNetwork(detector.model.network.eval())
    inputs = [vehicle_inputs(vehicle, detector, frame) for frame in frames]
    runtime_ms: list[float] = []
    eager_ms: list[float] = []
    with tempfile.TemporaryDirectory(prefix="replay-") as work:
        folder = Path(work) / "frames"
        write_folder(folder, frames, cameras)
        for _ in range(rounds):
            lines = run_program(program, artifact, folder, "--threads", str(torch.get_num_threads()))
            runtime_ms += _warm([line["latency_ms"]["network"] for line in lines.values()])
            eager_ms += _warm([_network_ms(vehicle, x) for x in inputs])
    return NetworkTimes(statistics.median(runtime_ms), statistics.median(eager_ms), lines)


def vehicle_inputs(vehicle: VehicleNetwork, detector: Detector, frame: Frame) -> list[torch.Tensor]:
    """What the vehicle's network takes of a frame, prepared by the Python pipeline."""
    inputs = frame_inputs(frame, detector.pipeline)["inputs"]
    return [inputs[name].reshape(1) if name == "lidar_mask" else inputs[name] for name in vehicle.input_names]


def record(
    artifact: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    data: str | Path,
    reference: str | Path,
    program: str | Path = PROGRAM,
) -> dict[str, Any]:
    """Write what the artifact gives now into `reference`; returns it. Raises as `verify` does."""
    content = _now(artifact, config, checkpoint, data, program)
    write_json(Path(reference), content)
    return content


def replay(
    artifact: str | Path,
    config: str | Path,
    checkpoint: str | Path,
    data: str | Path,
    reference: str | Path,
    program: str | Path = PROGRAM,
) -> list[str]:
    """Compare with the reference: one line per frame and one for the ratio; those that begin with FAIL have drifted.

    Raises as `verify` does, and ValueError when the reference is of other weights or frames.
    """
    expected = json.loads(Path(reference).read_text(encoding="utf-8"))
    now = _now(artifact, config, checkpoint, data, program)
    if expected["weights_sha256"] != now["weights_sha256"] or expected["boxes"].keys() != now["boxes"].keys():
        raise ValueError(f"{reference} is of other weights or frames: find out why, then record it anew")
    lines = [_line(*drift(frame, expected["boxes"][frame], now["boxes"][frame])) for frame in sorted(now["boxes"])]
    least = RATIO_SHARE * expected["ratio"]
    lines.append(
        _line(
            now["ratio"] >= least,
            f"network {now['ratio']:.2f} times as fast as in eager Python; {expected['ratio']:.2f} in the reference, "
            f"at least {least:.2f} is asked for",
        )
    )
    return lines


def drift(frame: str, expected: list[dict[str, Any]], now: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether a frame's boxes are the reference's, to verify_export's tolerances, and what to say of it."""
    worst = worst_differences(expected, now)
    text = f"{frame}: {len(expected)} boxes in the reference, {len(now)} now; largest differences: "
    text += "  ".join(f"{name} {value:.1e}" for name, value in worst.items())
    return len(expected) == len(now) and all(worst[key] <= limit for key, limit in TOLERANCES.items()), text


def counted(boxes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The boxes that are compared, as the reference holds them: numbers to six digits after the point."""
    kept = [box for box in boxes if box["detection_score"] > COUNTED_SCORE]
    return [{key: _rounded(value) for key, value in box.items() if key != "sample_token"} for box in kept]


def _now(
    artifact: str | Path, config: str | Path, checkpoint: str | Path, data: str | Path, program: str | Path
) -> dict[str, Any]:
    if read_manifest(artifact)["artifact"]["target"] != "aoti":
        raise ValueError(f"{artifact} does not run in perception-run, which references are of; compare its boxes alone")
    manifest, detector = open_pair(artifact, config, checkpoint, program)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what else runs on the machine then disturbs the ratio least
    try:
        times = network_times(artifact, detector, manifest["cameras"], load_frames(data), program)
    finally:
        torch.set_num_threads(threads)
    return {
        "weights_sha256": manifest["model"]["weights_sha256"],
        "ratio": round(times.ratio, 3),
        "boxes": {frame: counted(line["detections"]) for frame, line in times.lines.items()},
    }


def _network_ms(vehicle: VehicleNetwork, inputs: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        vehicle(*inputs)
    return 1e3 * (time.perf_counter() - start)


def _warm(times: list[float]) -> list[float]:
    return times[1:] or times


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def _line(agrees: bool, text: str) -> str:
    return f"{'ok  ' if agrees else 'FAIL'} {text}"
