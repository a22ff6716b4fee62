"""How often tools/check_sensors.py finds a displaced camera, and how often it accuses one that is not: docs/sensors.md.

    python benchmarks/sensor_faults.py data/synthetic --infos nuscenes_infos_val.json --scenes-per-recording 3

A displaced calibration is put in by moving the LiDAR's edge points in the camera's frame: for the check it is the same.
"""

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perception.datasets.info_files import read_info_file
from perception.evaluation.sensors.alignment import EdgeSet, find_correction, turn_matrix
from perception.evaluation.sensors.edge_sets import camera_edges, sweep_edges
from perception.evaluation.sensors.placement import displaced
from perception.evaluation.sensors.recording import read_recording

AXES = ("right", "down", "forward")


def harmed(edges: EdgeSet, degrees: float, metres: float) -> Iterator[tuple[str, EdgeSet]]:
    """The edges as a calibration that is turned or moved along each axis, either way, would place them."""
    for axis, name in enumerate(AXES):
        for sign in (1, -1):
            step = sign * np.eye(3)[axis]
            turned = edges.points @ turn_matrix(np.radians(degrees) * step).T
            yield f"{degrees:g} degree about {name}", dataclasses.replace(edges, points=turned)
            yield f"{100 * metres:g} cm {name}", dataclasses.replace(edges, points=edges.points + metres * step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--infos", default="nuscenes_infos_val.json", help="whose scenes are taken, under root")
    parser.add_argument("--scenes-per-recording", type=int, default=3)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--metres", type=float, default=0.05)
    args = parser.parse_args()

    scenes = sorted({sample["scene_name"] for sample in read_info_file(args.root / args.infos)[1]})
    tried, named, others, accused = Counter(), Counter(), Counter(), 0
    sensors = frames = 0
    for start in tqdm(range(0, len(scenes), args.scenes_per_recording), unit="recording"):
        recording = read_recording(args.root, None, scenes[start : start + args.scenes_per_recording])
        chosen = recording.spread(len(recording.frames))
        frames = len(chosen)
        sweeps = sweep_edges(chosen)
        edges = {camera: camera_edges(chosen, sweeps, camera) for camera in recording.cameras}
        matrices = {camera: chosen[0]["images"][camera]["lidar2cam"] for camera in edges}
        unharmed = {camera: find_correction(e) for camera, e in edges.items() if e is not None}
        accused += len(displaced(unharmed, matrices))
        sensors += len(recording.sensors)
        for camera, e in edges.items():
            for fault, wrong in harmed(e, args.degrees, args.metres) if e is not None else ():
                found = displaced({**unharmed, camera: find_correction(wrong)}, matrices)
                tried[fault] += 1
                named[fault] += camera in found
                others[fault] += any(name != camera for name in found)
    print(f"{frames} key frames a recording; {accused} of {sensors} unharmed sensors accused")
    for fault in tried:
        print(f"{fault:<26} named {named[fault]} of {tried[fault]}, another sensor accused in {others[fault]}")
    rates = {fault: named[fault] / tried[fault] for fault in tried}
    print(json.dumps({"name": "sensor_faults", "false_alarms": accused / sensors, "detected": rates}))


if __name__ == "__main__":
    main()
