"""Files for the fuzzers to start from: fuzz_seeds.py cloud|image|json FOLDER."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from test_inputs import calibration, lzf_runs, pcd, picture, records


def clouds() -> list[bytes]:
    points = records(20)
    files = [b"\xff" + pcd(points, kind) for kind in ("ascii", "binary", "binary_compressed")]
    return [*files, b"\xff" + pcd(points, "binary_compressed", lzf_runs), b"\x05" + np.ones(20, np.float32).tobytes()]


def images() -> list[bytes]:
    image = picture(64, 48)
    kinds = [(".jpg", image), (".png", image), (".png", image[..., 0]), (".jpg", image[..., 0])]
    kinds.append((".png", np.concatenate([image, image[..., :1]], -1)))
    progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    files = [cv2.imencode(suffix, pixels)[1] for suffix, pixels in kinds] + [progressive]
    return [bytes([i]) + file.tobytes() for i, file in enumerate(files)]


def texts() -> list[bytes]:
    pose = np.eye(4).tolist()
    frame = {
        "timestamp_s": 1.5,
        "global_from_lidar": pose,
        "sweeps": [{"file": "sweeps/a.bin", "timestamp_s": 1.4, "lidar_from_sweep": pose}],
        "cameras": {"CAM_FRONT": {"timestamp_s": 1.5, "camera_from_lidar": pose}},
    }
    manifest = {
        "format_version": 1,
        "artifact": {
            "file": "model.pt2", "sha256": "0", "cpu_capability": "AVX2", "target": "aoti", "device": "cpu",
        },
        "versions": {"torch": "2.13.0"},
        "inputs": [
            {"name": "points", "dtype": "float32", "shape": [{"dim": "points", "min": 0, "max": 400000}, 5]},
            {"name": "lidar_mask", "dtype": "bool", "shape": [1]},
            {"name": "images", "dtype": "uint8", "shape": [1, 3, 128, 352]},
            {"name": "image_from_lidar", "dtype": "float32", "shape": [1, 4, 4]},
            {"name": "camera_mask", "dtype": "bool", "shape": [1]},
        ],
        "classes": ["car"],
        "cameras": ["CAM_FRONT"],
        "preprocessing": {
            "points": {"sweeps": 2, "every": 5, "remove_close_m": 1.0, "range_m": [-51.2, -51.2, -5, 51.2, 51.2, 3]},
            "images": {
                "size_hw": [128, 352], "decode_min_hw": [128, 352], "scale": 1.0, "crop_x": 0.5, "crop_y": 1.0,
            },
        },
        "postprocessing": {
            "score_threshold": 0.02, "moving_speed_mps": 0.2, "attributes": {"car": ["moving", "parked"]},
        },
        "limits": {"max_points": 400000, "max_camera_lidar_gap_s": 0.1},
    }  # fmt: skip
    return [bytes([i]) + json.dumps(content).encode() for i, content in enumerate((manifest, calibration(), frame))]


if __name__ == "__main__":
    for index, content in enumerate({"cloud": clouds, "image": images, "json": texts}[sys.argv[1]]()):
        (Path(sys.argv[2]) / f"seed{index}").write_bytes(content)
