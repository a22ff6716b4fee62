"""The runtime against the eager Python model (float32): the network alone, and whole frames from files to boxes. CPU.

Both sides in turn, on the same frames and as many threads. `ours` of the network is perception-run's network stage,
`other` the Python network on inputs that lie ready. `ours` of a frame is the time from one result to the next (the
program reads and decodes a frame while the network runs on another), `other` what perception.engine.inference.Detector
takes, which tools/infer.py calls. Floor: multiply-adds of the network's convolutions and products at `compute_rate`
of the artifact's precision.

make runtime && python benchmarks/bench_runtime.py [--artifact DIR --checkpoint FILE --data PATH]

Without arguments it exports configs/demo_fusion.py with random weights and generates its frames, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from timing import compute_rate

CONFIG = "configs/demo_fusion.py"
FRAMES = 40  # of the program per round; its rate leaves out the first ten


def make_demo(folder: Path) -> tuple[Path, Path, Path]:
    """Artifact, checkpoint and info file of the demo's network with random weights and a small synthetic world."""
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet3d.registry import MODELS

    from perception.datasets.nuscenes_infos import create_info_files
    from perception.datasets.synthetic import VERSION, generate_dataroot
    from perception.engine.export import export
    from perception.engine.run import load_config

    torch.manual_seed(0)
    checkpoint = folder / "random.pth"
    torch.save({"state_dict": MODELS.build(load_config(CONFIG).model).state_dict()}, checkpoint)
    data = folder / "data"
    data.mkdir()
    generate_dataroot(data, train_scenes=0, val_scenes=1, keyframes_per_scene=4, seed=0)
    create_info_files(data, VERSION, out=data, progress=False)
    return export(CONFIG, checkpoint, folder / "artifact"), checkpoint, data / "nuscenes_infos_val.json"


def network_operations(vehicle: torch.nn.Module, inputs: list[torch.Tensor]) -> int:
    """Two for each multiply-add of torch's own operators; what runs in kernels of this project is not counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vehicle(*inputs)
    return int(counter.get_total_flops())


def frame_period_ms(program: Path, artifact: Path, folder: Path) -> float:
    """Time from one result of the program to the next, over all frames but the first ten."""
    command = [program, artifact, folder, "--benchmark", "--frames", FRAMES, "--threads", torch.get_num_threads()]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    rate = re.search(r"([\d.]+) frames/s", done.stdout)
    assert rate is not None, done.stdout
    return 1e3 / float(rate[1])


def line(name: str, ours_ms: float, other: str, other_ms: float, floor_ms: float) -> None:
    values = {
        "name": name, "ours_ms": round(ours_ms, 2), "other": other, "other_ms": round(other_ms, 2),
        "ratio": round(other_ms / ours_ms, 2), "floor_ms": round(floor_ms, 2), "threads": torch.get_num_threads(),
        "device": "cpu",
    }  # fmt: skip
    print(json.dumps(values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, help="of configs/demo_fusion.py")
    parser.add_argument("--checkpoint", type=Path, help="that the artifact was made from")
    parser.add_argument("--data", type=Path, help="info file")
    parser.add_argument("--program", type=Path, default=Path("build/runtime/perception-run"))
    parser.add_argument("--frames", type=int, default=12, help="different frames (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: %(default)s)")
    args = parser.parse_args()
    given = (args.artifact, args.checkpoint, args.data)
    if any(given) and not all(given):
        parser.error("--artifact, --checkpoint and --data go together")
    if not args.program.is_file():
        parser.error(f"no {args.program}: run `make runtime` first")

    from perception.datasets.frame_descriptions import write_folder
    from perception.engine.export_drift import network_times, vehicle_inputs
    from perception.engine.verify_export import load_frames, open_pair
    from perception.export.vehicle import VehicleNetwork

    with tempfile.TemporaryDirectory(prefix="bench-runtime-") as work:
        artifact, checkpoint, data = given if all(given) else make_demo(Path(work))
        manifest, detector = open_pair(artifact, CONFIG, checkpoint, args.program)
        frames = load_frames(data)[: args.frames]
        vehicle = VehicleNetwork(detector.model.network.eval())
        operations = network_operations(vehicle, vehicle_inputs(vehicle, detector, frames[0]))
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(manifest["artifact"]["precision"], torch.float32)
        floor_ms = 1e3 * operations / compute_rate(dtype=dtype)
        print(f"{operations / 2e9:.2f} billion multiply-adds per frame, {len(frames)} frames, {args.rounds} rounds")

        times = network_times(artifact, detector, manifest["cameras"], frames, args.program, args.rounds)
        line("runtime_network", times.runtime_ms, "eager PyTorch", times.eager_ms, floor_ms)

        folder = Path(work) / "frames"
        write_folder(folder, frames, manifest["cameras"])
        ours_ms: list[float] = []
        other_ms: list[float] = []
        for _ in range(args.rounds):
            ours_ms.append(frame_period_ms(args.program, artifact, folder))
            for frame in frames:
                start = time.perf_counter()
                detector(frame)
                other_ms.append(1e3 * (time.perf_counter() - start))
        line("runtime_frame", statistics.median(ours_ms), "Python Detector", statistics.median(other_ms), floor_ms)


if __name__ == "__main__":
    main()
