"""One verdict per sensor: what its files, its clock, its place on the car and its figures say together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from perception.evaluation.sensors.alignment import Correction, find_correction
from perception.evaluation.sensors.clocks import ClockFaults, clock_faults
from perception.evaluation.sensors.edge_sets import camera_edges, sweep_edges
from perception.evaluation.sensors.files import FileFaults, file_faults
from perception.evaluation.sensors.placement import MOVE_MIN_FRAMES, displaced
from perception.evaluation.sensors.recording import LIDAR, Recording
from perception.evaluation.sensors.statistics import gather, odd_figures

OK, FAULT = "ok", "FAULT"
MIN_EDGES, MIN_FRAMES = 400, 6
LATE_SHARE, ODD_SHARE = 0.01, 0.2


def check_recording(
    recording: Recording, usual: Mapping[str, Any] | None = None, frames: int = 40, progress: bool = True
) -> dict[str, Any]:
    """Check every sensor of a recording.

    usual: statistics of the training set (`statistics.read_reference`); without, figures are not judged.
    frames: key frames, evenly spread, whose content is looked at; files and times are checked in all of them.

    Returns {sensors: {name: {verdict, reasons, not_judged, files, clock, alignment, figures}}, frames_looked_at}.
    """
    chosen = recording.spread(frames)
    features = chosen[0]["lidar_points"].get("num_pts_feats", 5) if chosen else 5
    clocks = clock_faults(recording)
    corrections = _corrections(recording, chosen, progress)
    matrices = {
        camera: next(np.asarray(frame["images"][camera]["lidar2cam"]) for frame in chosen if camera in frame["images"])
        for camera in corrections
    }
    places = displaced(corrections, matrices)
    gathered = gather(tqdm(chosen, "statistics", unit="frame", disable=not progress))
    sensors = {}
    for sensor in recording.sensors:
        files = file_faults(recording.of(sensor), features)
        figures = gathered.figures.get(sensor, {})
        odd = odd_figures(figures, (usual or {}).get(sensor, {}))
        correction = corrections.get(sensor)
        reasons = [*_file_reasons(files), *_clock_reasons(clocks[sensor], files.files), *_odd_reasons(odd)]
        damaged = [text for text in gathered.unreadable.get(sensor, []) if not any(n in text for n in files.truncated)]
        reasons += [f"{len(damaged)} of {len(chosen)} frames cannot be read: {damaged[0]}"] if damaged else []
        if sensor in places:
            reasons.append(str(places[sensor]))
        open_questions = _not_judged(sensor, clocks[sensor], correction, usual, corrections)
        sensors[sensor] = {
            "verdict": FAULT if reasons else OK,
            "reasons": reasons,
            "not_judged": open_questions,
            "files": vars(files),
            "clock": vars(clocks[sensor]),
            "alignment": None if correction is None else _as_json(correction),
            "figures": {name: float(np.median(values)) for name, values in figures.items()},
        }
    return {"sensors": sensors, "frames_looked_at": len(chosen)}


def _corrections(recording: Recording, chosen: list[dict[str, Any]], progress: bool) -> dict[str, Correction]:
    """The correction of every camera that has enough edges in the chosen key frames."""
    sweeps = sweep_edges(chosen)
    found = {}
    for camera in tqdm(recording.cameras, "edges", unit="camera", disable=not progress):
        edges = camera_edges(chosen, sweeps, camera)
        if edges is not None and len(edges) >= MIN_EDGES and len(edges.distance) >= MIN_FRAMES:
            found[camera] = find_correction(edges)
    return found


def _file_reasons(files: FileFaults) -> list[str]:
    return [
        f"{len(names)} of {files.files} files {what}: {', '.join(names[:2])}{' ..' if len(names) > 2 else ''}"
        for what, names in (
            ("missing", files.missing),
            ("truncated", files.truncated),
            ("the same as the one before", files.duplicated),
        )
        if names
    ]


def _clock_reasons(clock: ClockFaults, readings: int) -> list[str]:
    reasons = []
    if clock.shift_s:
        reasons.append(f"clock {1e3 * clock.shift_s:+.0f} ms off the others")
    for what, frames in (("late", clock.late), ("after a gap", clock.gaps)):
        if len(frames) > LATE_SHARE * readings:
            reasons.append(f"{len(frames)} of {readings} readings {what}")
    return reasons


def _odd_reasons(odd: Mapping[str, float]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} unlike the training set in {100 * share:.0f} % of frames"
        for name, share in odd.items()
        if share > ODD_SHARE
    ]


def _not_judged(
    sensor: str, clock: ClockFaults, correction: Correction | None, usual: Any, corrections: Mapping[str, Correction]
) -> list[str]:
    """What nothing could be said about, and why."""
    reasons = []
    if sensor != LIDAR and clock.offset_s is None:
        reasons.append("clock (no times)")
    if correction is None and (sensor != LIDAR or len(corrections) < 3):
        reasons.append(f"place (needs {MIN_EDGES} edges in {MIN_FRAMES} frames, and rings)")
    elif correction is not None and correction.frames < MOVE_MIN_FRAMES:
        reasons.append(f"moves (needs {MOVE_MIN_FRAMES} frames)")
    if usual is None:
        reasons.append("figures (no --reference)")
    return reasons


def _as_json(correction: Correction) -> dict[str, Any]:
    return {
        "turn_deg": np.degrees(correction.turn).round(3).tolist(),
        "turn_spread_deg": np.degrees(correction.turn_spread).round(3).tolist(),
        "move_m": correction.move.round(4).tolist(),
        "move_spread_m": correction.move_spread.round(4).tolist(),
        "score": correction.score,
        "score_turned": correction.score_turned,
        "score_moved": correction.score_moved,
        "edges": correction.edges,
        "frames": correction.frames,
    }
