"""Speed of the synthetic world: key frames per second of one core, sweeps, pictures and files included."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from perception.datasets.synthetic import generate_dataroot


def main() -> None:
    """Generate two scenes with one worker and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keyframes", type=int, default=20, help="per scene (default: %(default)s)")
    parser.add_argument("--image-size", type=int, nargs=2, default=(1600, 900), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        root = generate_dataroot(Path(folder) / "root", 2, 0, args.keyframes, 0, workers=1, image_size=args.image_size)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        size_mb = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) / 1e6
    frames = 2 * args.keyframes
    result = {
        "name": "synthetic",
        "keyframes_per_s_per_core": round(frames / cpu_s, 3),
        "keyframes_per_s": round(frames / wall_s, 3),
        "mb_per_keyframe": round(size_mb / frames, 2),
        "image_size": list(args.image_size),
        "threads": 1,
        "device": "cpu",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
