"""Reading a key frame's LiDAR sweeps and camera images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.datasets.bad_data import check_choice, note
from perception.datasets.distortion import read_distortion, undistort
from perception.datasets.info_files import POINT_FEATURES
from perception.datasets.sensor_files import read_image, read_points
from perception.datasets.transforms.base import TRANSFORMS, BaseTransform
from perception.geometry import homogeneous_intrinsics, image_affine, invert


@TRANSFORMS.register_module()
class LoadSweeps(BaseTransform):
    """The key sweep and the newest previous ones, all in the LiDAR frame of the key frame.

    Sets points [P,5] float32 (x y z m, intensity, age s), lidar_mask and lidar_aug, the identity. The sensor's motion
    between sweeps is compensated: ego poses and calibration are in `lidar2sensor`. A frame without a cloud (lidar_path
    None) has no points and mask False.

    Args:
        sweeps: how many previous sweeps to add; fewer where the info entry lists fewer.
        every: take every n-th previous sweep only: the same span of time, which velocity is seen by, with fewer points.
        remove_close_m: points of previous sweeps nearer than this to the sensor along both x and y are dropped: they
            lie on the ego vehicle, which compensation would smear out behind it.
        on_bad_data: "stop", or "skip": a bad key sweep is a LiDAR that is missing, a bad previous one is left out, and
            `bad_files` of the sample names it (perception/datasets/bad_data.py).

    Raises FileNotFoundError or ValueError naming the file that is missing, truncated or holds NaN.
    """

    def __init__(self, sweeps: int = 9, every: int = 1, remove_close_m: float = 1.0, on_bad_data: str = "stop") -> None:
        if sweeps < 0 or every < 1 or remove_close_m < 0:
            raise ValueError(
                f"LoadSweeps: sweeps {sweeps}, every {every} or remove_close_m {remove_close_m} is too small"
            )
        self.sweeps, self.every, self.remove_close_m = sweeps, every, remove_close_m
        self.on_bad_data = check_choice(on_bad_data)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        results.setdefault("lidar_aug", np.eye(4))
        features = results["lidar_points"].get("num_pts_feats", POINT_FEATURES)
        key = self._read(results, results["lidar_points"], features)
        results["lidar_mask"] = key is not None
        if key is None:
            results["points"] = np.zeros((0, 5), dtype=np.float32)
            return results
        clouds = [self._with_age(key, 0.0)]
        for sweep in results.get("lidar_sweeps", [])[self.every - 1 :: self.every][: self.sweeps]:
            points = self._read(results, sweep["lidar_points"], features)
            if points is None:
                continue
            cloud = self._with_age(points, results["timestamp"] - sweep["timestamp"])
            cloud = cloud[(np.abs(cloud[:, :2]) >= self.remove_close_m).any(axis=1)]
            lidar_from_sweep = invert(np.asarray(sweep["lidar_points"]["lidar2sensor"])).astype(np.float32)
            cloud[:, :3] = cloud[:, :3] @ lidar_from_sweep[:3, :3].T + lidar_from_sweep[:3, 3]
            clouds.append(cloud)
        results["points"] = np.concatenate(clouds)
        return results

    def read(self, path: str, features: int, size: int | None = None) -> np.ndarray:
        """Points [P,features] float32 of one file, which should have `size` bytes."""
        return read_points(path, features, size)

    def _read(self, results: dict[str, Any], entry: dict[str, Any], features: int) -> np.ndarray | None:
        path = entry["lidar_path"]
        if path is None:
            return None
        try:
            points = self.read(path, features, entry.get("bytes"))
            if len(points) == 0:
                note(results, path, f"LiDAR file is empty: {path}")
            return points
        except (FileNotFoundError, ValueError) as error:
            if self.on_bad_data == "stop":
                raise
            note(results, path, error)
            return None

    @staticmethod
    def _with_age(points: np.ndarray, age_s: float) -> np.ndarray:
        cloud = np.zeros((len(points), 5), dtype=np.float32)
        columns = min(points.shape[1], 4)  # a sensor without intensity gives zeros there
        cloud[:, :columns] = points[:, :columns]
        cloud[:, 4] = age_s
        return cloud


@TRANSFORMS.register_module()
class LoadCameras(BaseTransform):
    """The images of a frame and the calibration of each camera.

    Cameras may differ in size. One whose entry has a `distortion` (perception/datasets/distortion.py) is straightened.
    Sets cameras (names), camera_images (list of RGB [H,W,3] uint8, maybe reduced while decoding), image_aug [N,4,4]
    (recorded pixels -> pixels of camera_images), intrinsics and camera_from_lidar [N,4,4] float64, camera_mask [N]
    bool, camera_age_s [N] (key frame's time minus the image's, s) and image_paths.

    Args:
        cameras: names in the order of N; None takes those of the info entry, sorted. A camera that the entry lacks, and
            with `skip_missing` one whose file is missing, has mask False, no image and identity matrices.
        min_hw: decode at the smallest of 1, 1/2, 1/4, 1/8 size with at least these rows and columns: the largest size
            that a later resize asks for. JPEG decoding is most of the time of loading. None decodes in full.
        skip_missing: carry on without an image whose file is missing instead of raising.
        on_bad_data: "stop", or "skip": a camera whose image is missing or damaged is one that is missing, and
            `bad_files` of the sample names it (perception/datasets/bad_data.py).

    Raises FileNotFoundError or ValueError naming the file that is missing, truncated, not an image, or of another size
    than its calibration is for, or the camera whose distortion is not one.
    """

    def __init__(
        self,
        cameras: Sequence[str] | None = None,
        min_hw: tuple[int, int] | None = None,
        skip_missing: bool = False,
        on_bad_data: str = "stop",
    ) -> None:
        self.cameras = list(cameras) if cameras is not None else None
        self.min_hw = (int(min_hw[0]), int(min_hw[1])) if min_hw is not None else None
        self.skip_missing = skip_missing
        self.on_bad_data = check_choice(on_bad_data)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        entries = results.get("images", {})
        names = self.cameras if self.cameras is not None else sorted(entries)
        count = len(names)
        images: list[np.ndarray | None] = [None] * count
        image_aug, intrinsics, camera_from_lidar = (np.tile(np.eye(4), (count, 1, 1)) for _ in range(3))
        age_s = np.zeros(count)
        for i, name in enumerate(names):
            if (entry := entries.get(name)) is None:
                continue
            try:
                image, factor = read_image(entry["img_path"], self.min_hw, entry.get("bytes"))
                self._check_size(image, factor, entry)
            except (FileNotFoundError, ValueError) as error:
                if self.on_bad_data == "skip":
                    note(results, entry["img_path"], error)
                elif not (self.skip_missing and isinstance(error, FileNotFoundError)):
                    raise
                continue
            # A pixel of the reduced image has its centre where the centre of the k x k pixels was.
            shift = (1 / factor - 1) / 2
            image_aug[i] = image_affine(np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]]))
            intrinsics[i] = homogeneous_intrinsics(entry["cam2img"])
            lens = read_distortion(entry, f"camera {name}")
            images[i] = image if lens is None else undistort(image, (image_aug[i] @ intrinsics[i])[:3, :3], lens)
            camera_from_lidar[i] = entry["lidar2cam"]
            age_s[i] = results["timestamp"] - entry.get("timestamp", results["timestamp"])
        results["cameras"], results["camera_age_s"] = names, age_s
        results["image_paths"] = [entries[name]["img_path"] if name in entries else None for name in names]
        results["camera_images"], results["camera_mask"] = (
            images,
            np.array([image is not None for image in images], dtype=bool),
        )
        results["image_aug"], results["intrinsics"] = image_aug, intrinsics
        results["camera_from_lidar"] = camera_from_lidar
        results.setdefault("lidar_aug", np.eye(4))
        return results

    @staticmethod
    def _check_size(image: np.ndarray, factor: int, entry: dict[str, Any]) -> None:
        height, width = entry.get("height"), entry.get("width")
        if height and width and image.shape[:2] != (-(-height // factor), -(-width // factor)):
            raise ValueError(
                f"{entry['img_path']} is about {image.shape[1] * factor} x {image.shape[0] * factor} px, but its "
                f"calibration is for {width} x {height}"
            )
