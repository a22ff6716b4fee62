"""Do the sensors' clocks agree? Offsets of cameras to the LiDAR, frames that came late, gaps."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from perception.evaluation.sensors.recording import LIDAR, Reading, Recording

# A rig like nuScenes' triggers each camera while the LiDAR sweeps over its view: within one revolution, 50 ms.
OFFSET_LIMIT_S = 0.05
LATE_S = 0.025
GAP_FACTOR = 1.6


@dataclass
class ClockFaults:
    """offset_s: median time of a camera's key frames after the LiDAR's, None without times; shift_s: how far a clock is
    off, 0 where that is within a revolution; late: frames whose offset is over 25 ms from the median; gaps: places
    where a reading or more is lacking."""

    offset_s: float | None = None
    shift_s: float = 0.0
    late: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def clock_faults(recording: Recording) -> dict[str, ClockFaults]:
    """Compare the times of all sensors.

    A shift that all cameras share is the LiDAR's: the median over the cameras is taken for it, and each camera is
    judged by what it differs from that.
    """
    faults = {sensor: ClockFaults() for sensor in recording.sensors}
    key_time = {r.frame: r.time_s for r in recording.of(LIDAR) if r.is_key and r.time_s is not None}
    for camera in recording.cameras:
        pairs = [
            (reading.frame, reading.time_s - key_time[reading.frame])
            for reading in recording.of(camera)
            if reading.is_key and reading.path and reading.time_s is not None and reading.frame in key_time
        ]
        if pairs:
            median = float(np.median([offset for _, offset in pairs]))
            faults[camera].offset_s = median
            faults[camera].late = [frame for frame, offset in pairs if abs(offset - median) > LATE_S]
    offsets = {camera: f.offset_s for camera, f in faults.items() if f.offset_s is not None}
    if offsets:
        common = float(np.median(list(offsets.values())))
        if abs(common) > OFFSET_LIMIT_S and len(offsets) > 2:
            faults[LIDAR].shift_s = -common
        else:
            common = 0.0 if len(offsets) <= 2 else common
        for camera, offset in offsets.items():
            if abs(offset - common) > OFFSET_LIMIT_S:
                faults[camera].shift_s = offset - common
    for sensor in recording.sensors:
        faults[sensor].gaps = _gaps(recording.of(sensor))
    return faults


def _gaps(readings: list[Reading]) -> list[str]:
    """Frames before which at least one reading is lacking, judged by the sensor's own usual interval."""
    by_scene: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.time_s is not None and reading.path:
            by_scene[reading.scene].append(reading)
    steps = [
        (after.time_s - before.time_s, after.frame)
        for rows in by_scene.values()
        for before, after in itertools.pairwise(rows)
        if after.time_s is not None and before.time_s is not None
    ]
    if not steps:
        return []
    usual = float(np.median([step for step, _ in steps]))
    return [frame for step, frame in steps if step > GAP_FACTOR * usual]
