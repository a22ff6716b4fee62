"""A nuScenes dataroot of one scene, small enough to check by hand: coloured landmarks in a static world, a turning ego.

Written with plain loops and matrices of its own, so that tests compare two independent roads to the same numbers.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyquaternion import Quaternion

SCENE, START_S, STEP_S = "scene-0061", 1_500_000_000.0, 0.05
SWEEPS_PER_KEYFRAME, KEYFRAMES = 4, 2
IMAGE_HW = (240, 400)
# camera_from_lidar without its shift: x right, y down, z along +y of the LiDAR (forward) or along -y.
CAMERA_TURNS = {
    "CAM_FRONT": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "CAM_BACK": np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]),
}
INTRINSICS = np.array([[220.0, 0, 199.5], [0, 220.0, 119.5], [0, 0, 1]])
# Landmarks in the LiDAR frame of the first key frame: x y z; per camera one red, one green, one blue.
LANDMARKS = np.array([[-4.0, 12, 0.5], [0.5, 10, -0.5], [4, 11, 0.2], [4, -13, 0.5], [-0.5, -9, -0.6], [-5, -12, 0.3]])
CAR_SIZE_WLH, CAR_VELOCITY = [1.9, 4.5, 1.6], np.array([4.0, 1.0, 0.0])


def matrix(translation: Any, quaternion: Quaternion) -> np.ndarray:
    out = quaternion.transformation_matrix
    out[:3, 3] = translation
    return out


def ego_pose(time_s: float) -> tuple[np.ndarray, Quaternion]:
    """10 m/s along a bend of 0.3 rad/s: far enough between sweeps that a forgotten compensation shows."""
    return np.array([600 + 10 * time_s, 1200 + 2 * time_s, 0.0]), Quaternion(axis=[0, 0, 1], angle=0.4 + 0.3 * time_s)


# ego_from_lidar: the LiDAR's y points forward, and it leans a little.
LIDAR_POSE = (
    np.array([0.9, 0.0, 1.8]),
    Quaternion(axis=[0, 0, 1], angle=-np.pi / 2) * Quaternion(axis=[1, 0, 0], angle=0.01),
)


def world_landmarks() -> np.ndarray:
    pose = matrix(*ego_pose(0.0)) @ matrix(*LIDAR_POSE)
    return LANDMARKS @ pose[:3, :3].T + pose[:3, 3]


def car_position(time_s: float) -> np.ndarray:
    return np.array([610.0, 1215.0, 0.8]) + CAR_VELOCITY * time_s


def write_dataroot(root: Path) -> Path:
    """v1.0-mini tables, LiDAR sweeps and two cameras; key frames at 0 s and 0.2 s."""
    names = ("ego_pose", "sample_data", "sample", "sample_annotation")
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    rows = SWEEPS_PER_KEYFRAME * (KEYFRAMES - 1) + 1
    for index in range(rows):
        time_s = index * STEP_S
        keyframe = -(-index // SWEEPS_PER_KEYFRAME)  # a sweep belongs to the key frame that follows
        is_key = index % SWEEPS_PER_KEYFRAME == 0
        pose = matrix(*ego_pose(time_s)) @ matrix(*LIDAR_POSE)
        points = np.zeros((len(LANDMARKS) + 1, 5), np.float32)
        points[:-1, :3] = (world_landmarks() - pose[:3, 3]) @ pose[:3, :3]
        points[:-1, 3] = 10.0 * np.arange(len(LANDMARKS))
        points[-1] = [0.3, -0.4, -0.5, 99.0, 7]  # on the ego vehicle
        folder = "samples" if is_key else "sweeps"
        path = f"{folder}/LIDAR_TOP/lidar_{index}.pcd.bin"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        points.tofile(root / path)
        add_data(tables, "LIDAR_TOP", index, rows, time_s, keyframe, is_key, path)
        if is_key:
            for channel in CAMERA_TURNS:
                add_image(root, tables, channel, index, time_s + (0.02 if channel == "CAM_BACK" else -0.01), keyframe)
            add_sample(tables, keyframe, time_s)
    write_tables(root, tables)
    return root


def add_data(
    tables: Any, channel: str, index: int, rows: int, time_s: float, keyframe: int, is_key: bool, path: str
) -> None:
    token, stamp = f"{channel}_{index}", round((START_S + time_s) * 1e6)
    translation, rotation = ego_pose(time_s)
    pose = {"rotation": rotation.elements.tolist(), "translation": translation.tolist()}
    tables["ego_pose"].append({"token": f"pose_{token}", "timestamp": stamp, **pose})
    is_camera = channel.startswith("CAM")
    tables["sample_data"].append(
        {
            "token": token, "sample_token": f"sample_{keyframe}", "ego_pose_token": f"pose_{token}",
            "calibrated_sensor_token": f"calibrated_{channel}", "timestamp": stamp,
            "fileformat": "jpg" if is_camera else "pcd", "is_key_frame": is_key, "filename": path,
            "height": IMAGE_HW[0] * is_camera, "width": IMAGE_HW[1] * is_camera,
            "prev": f"{channel}_{index - 1}" if index > 0 and not is_camera else "",
            "next": f"{channel}_{index + 1}" if index + 1 < rows and not is_camera else "",
        }
    )  # fmt: skip


def camera_pose(channel: str) -> tuple[np.ndarray, Quaternion]:
    """ego_from_camera: the LiDAR's axes turned to the camera's, half a metre below it."""
    lidar_from_camera = np.eye(4)
    lidar_from_camera[:3, :3], lidar_from_camera[:3, 3] = CAMERA_TURNS[channel].T, [0.1, 0.2, -0.5]
    pose = matrix(*LIDAR_POSE) @ lidar_from_camera
    return pose[:3, 3], Quaternion(matrix=pose)


def landmark_pixels(channel: str, time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [6,2] and depths [6] of the landmarks in a camera's image at a time."""
    pose = matrix(*ego_pose(time_s)) @ matrix(*camera_pose(channel))
    in_camera = (world_landmarks() - pose[:3, 3]) @ pose[:3, :3]
    return (in_camera @ INTRINSICS.T)[:, :2] / in_camera[:, 2:], in_camera[:, 2]


def add_image(root: Path, tables: Any, channel: str, index: int, time_s: float, keyframe: int) -> None:
    """A grey image with a red, a green and a blue disc on its landmarks."""
    image = np.full((*IMAGE_HW, 3), 40, np.uint8)
    pixels, depths = landmark_pixels(channel, time_s)
    for i in np.flatnonzero(depths > 0):
        colour = [40, 40, 40]
        colour[2 - i % 3] = 255  # OpenCV writes B G R
        # Sub-pixel centres: coordinates in 1/256 px.
        cv2.circle(image, tuple(np.round(pixels[i] * 256).astype(int)), 6 * 256, colour, -1, cv2.LINE_AA, shift=8)
    path = f"samples/{channel}/{channel}_{index}.jpg"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / path), image, [cv2.IMWRITE_JPEG_QUALITY, 97, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111])
    add_data(tables, channel, index, 0, time_s, keyframe, True, path)


def add_sample(tables: Any, keyframe: int, time_s: float) -> None:
    tables["sample"].append(
        {
            "token": f"sample_{keyframe}", "timestamp": round((START_S + time_s) * 1e6), "scene_token": "scene",
            "prev": f"sample_{keyframe - 1}" if keyframe else "",
            "next": f"sample_{keyframe + 1}" if keyframe + 1 < KEYFRAMES else "",
        }
    )  # fmt: skip
    common = {"sample_token": f"sample_{keyframe}", "visibility_token": "4", "num_radar_pts": 0}
    tables["sample_annotation"] += [
        {
            **common, "token": f"car_{keyframe}", "instance_token": "car", "attribute_tokens": ["vehicle.moving"],
            "translation": car_position(time_s).tolist(), "size": CAR_SIZE_WLH,
            "rotation": Quaternion(axis=[0, 0, 1], angle=0.7).elements.tolist(), "num_lidar_pts": 5,
            "prev": f"car_{keyframe - 1}" if keyframe else "",
            "next": f"car_{keyframe + 1}" if keyframe + 1 < KEYFRAMES else "",
        },
        {
            **common, "token": f"cone_{keyframe}", "instance_token": f"cone_{keyframe}", "attribute_tokens": [],
            "translation": [605.0, 1190.0, 0.4], "size": [0.4, 0.4, 0.8], "rotation": [1.0, 0, 0, 0],
            "num_lidar_pts": 0, "prev": "", "next": "",
        },
        {
            **common, "token": f"animal_{keyframe}", "instance_token": f"animal_{keyframe}", "attribute_tokens": [],
            "translation": [600.0, 1210.0, 0.4], "size": [0.4, 1.0, 0.8], "rotation": [1.0, 0, 0, 0],
            "num_lidar_pts": 3, "prev": "", "next": "",
        },
    ]  # fmt: skip


def write_tables(root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    categories = {"car": "vehicle.car", "cone": "movable_object.trafficcone", "animal": "animal"}
    poses = {"LIDAR_TOP": LIDAR_POSE} | {channel: camera_pose(channel) for channel in CAMERA_TURNS}
    tables |= {
        "attribute": [{"token": "vehicle.moving", "name": "vehicle.moving", "description": ""}],
        "category": [{"token": name, "name": name, "description": ""} for name in categories.values()],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "instance": [
            {
                "token": token, "category_token": categories[token.split("_")[0]], "nbr_annotations": 1,
                "first_annotation_token": "", "last_annotation_token": "",
            }
            for token in sorted({row["instance_token"] for row in tables["sample_annotation"]})
        ],
        "sensor": [
            {"token": channel, "channel": channel, "modality": "camera" if channel in CAMERA_TURNS else "lidar"}
            for channel in poses
        ],
        "calibrated_sensor": [
            {
                "token": f"calibrated_{channel}", "sensor_token": channel, "translation": list(translation),
                "rotation": rotation.elements.tolist(),
                "camera_intrinsic": INTRINSICS.tolist() if channel in CAMERA_TURNS else [],
            }
            for channel, (translation, rotation) in poses.items()
        ],
        "log": [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": "nowhere"}],
        "map": [{"token": "map", "log_tokens": ["log"], "category": "", "filename": "maps/empty.png"}],
        "scene": [
            {
                "token": "scene", "name": SCENE, "description": "", "log_token": "log", "nbr_samples": KEYFRAMES,
                "first_sample_token": "sample_0", "last_sample_token": f"sample_{KEYFRAMES - 1}",
            }
        ],
    }  # fmt: skip
    (root / "maps").mkdir()
    cv2.imwrite(str(root / "maps" / "empty.png"), np.zeros((2, 2), np.uint8))
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
