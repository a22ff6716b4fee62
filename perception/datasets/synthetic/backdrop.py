"""Sky and ground behind the objects of a view, with the shadows that objects cast on the ground."""

from __future__ import annotations

import cv2
import numpy as np

from perception.datasets.synthetic.raster import clip_near, to_pixels
from perception.datasets.synthetic.rig import CameraSensor
from perception.datasets.synthetic.road import MARKING, TEXEL_M
from perception.datasets.synthetic.shapes import Label
from perception.datasets.synthetic.site import footprint
from perception.datasets.synthetic.textures import SKY_COLUMNS, SKY_ROWS, SKY_TOP_RAD, Textures
from perception.datasets.synthetic.world import Scene

_SKY_STEP = 4  # the sky is smooth: one sample per 4x4 pixels


class Backdrop:
    """Renders sky and ground of one scene."""

    def __init__(self, scene: Scene, textures: Textures, image_size: tuple[int, int]) -> None:
        self.scene, self.size = scene, image_size
        self.panorama = _panorama(scene, textures)
        self._sky_maps: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._beams: dict[str, np.ndarray] = {}

    def render(
        self, sensor: CameraSensor, global_from_camera: np.ndarray, ego: np.ndarray, poses: np.ndarray
    ) -> np.ndarray:
        """The background [H,W,3] BGR of a camera."""
        image = self._sky(sensor, float(ego[3]))
        rays = global_from_camera[:3, :3] @ np.linalg.inv(sensor.intrinsic)
        height = global_from_camera[2, 3]
        width = self.size[0]
        rows = np.arange(self.size[1])
        # Range of the ground along each row's middle; the sky's rows have none.
        fall = -(rays[2, 0] * width / 2 + rays[2, 1] * rows + rays[2, 2])
        ranges = np.where(fall > 1e-4, height / np.maximum(fall, 1e-4), np.inf)
        left, right = -(rays[2, 1] * rows + rays[2, 2]), -(rays[2, 0] * width + rays[2, 1] * rows + rays[2, 2])
        below = np.flatnonzero(np.minimum(left, right) > height / 400.0)
        top = int(below[0]) if len(below) else self.size[1]
        if top < self.size[1]:
            self._ground(image, rays, global_from_camera, ranges, top)
            self._shadows(image, sensor, np.linalg.inv(global_from_camera), poses, top)
            if self.scene.weather.headlights:
                self._headlights(image, sensor, top)
            self._haze(image, ranges, top)
        return image

    def labels(self, sensor: CameraSensor, global_from_camera: np.ndarray) -> np.ndarray:
        """Labels [H,W] uint8 of sky and ground behind all objects."""
        ground, (width, height) = self.scene.ground, self.size
        rays = global_from_camera[:3, :3] @ np.linalg.inv(sensor.intrinsic)
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        direction = np.einsum("ij,jn->ni", rays, np.stack([u.ravel(), v.ravel(), np.ones(u.size)]))
        meets = direction[:, 2] < -global_from_camera[2, 3] / 400.0
        labels = np.full(u.size, int(Label.SKY), dtype=np.uint8)
        scale = -global_from_camera[2, 3] / direction[meets, 2]
        found = ground.label_at(global_from_camera[:2, 3] + direction[meets, :2] * scale[:, None])
        labels[meets] = np.where(found == MARKING, int(Label.ROAD), found)
        return labels.reshape(height, width)

    def _sky(self, sensor: CameraSensor, yaw: float) -> np.ndarray:
        if sensor.channel not in self._sky_maps:
            width, height = self.size
            u, v = np.meshgrid(np.arange(0, width, _SKY_STEP) + 1.5, np.arange(0, height, _SKY_STEP) + 1.5)
            rays = sensor.ego_from_camera[:3, :3] @ np.linalg.inv(sensor.intrinsic)
            direction = np.einsum("ij,jhw->ihw", rays, np.stack([u, v, np.ones_like(u)]))
            azimuth = np.arctan2(direction[1], direction[0])
            elevation = np.arctan2(direction[2], np.hypot(direction[0], direction[1]))
            rows = np.clip(elevation / SKY_TOP_RAD, 0, 1) * (SKY_ROWS - 1)
            columns = azimuth / (2 * np.pi) * SKY_COLUMNS
            self._sky_maps[sensor.channel] = (columns.astype(np.float32), rows.astype(np.float32))
        columns, rows = self._sky_maps[sensor.channel]
        shift = np.float32(yaw / (2 * np.pi) * SKY_COLUMNS)
        small = cv2.remap(
            self.panorama, (columns + shift) % SKY_COLUMNS, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        return np.asarray(cv2.resize(small, self.size))

    def _ground(
        self, image: np.ndarray, rays: np.ndarray, global_from_camera: np.ndarray, ranges: np.ndarray, top: int
    ) -> None:
        """Warp the ground's picture into the rows from `top`; far rows are oversampled against flicker."""
        ground, (x, y, z) = self.scene.ground, global_from_camera[:3, 3]
        height, width = image.shape[:2]
        plane = np.stack([x * rays[2] - z * rays[0], y * rays[2] - z * rays[1], rays[2]])
        scale = width / 1600
        near = int(np.searchsorted(-ranges, -13.0 * scale))
        far = int(np.searchsorted(-ranges, -45.0 * scale))
        for first, last, level, samples in ((top, far, 1, 8), (far, near, 0, 4), (near, height, 0, 1)):
            first = max(first, top)
            if last <= first:
                continue
            texel = TEXEL_M * 2**level
            to_texel = np.array(
                [
                    [1 / texel, 0, -ground.origin[0] / texel - 0.5],
                    [0, 1 / texel, -ground.origin[1] / texel - 0.5],
                    [0, 0, 1],
                ]
            )
            rows = np.array([[1.0, 0, 0], [0, 1 / samples, first + (0.5 / samples - 0.5)], [0, 0, 1]])
            strip = cv2.warpPerspective(
                ground.pyramid[level],
                to_texel @ plane @ rows,
                (width, (last - first) * samples),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            if samples > 1:
                strip = cv2.resize(strip, (width, last - first), interpolation=cv2.INTER_AREA)
            image[first:last] = strip

    def _shadows(
        self, image: np.ndarray, sensor: CameraSensor, camera_from_global: np.ndarray, poses: np.ndarray, top: int
    ) -> None:
        weather = self.scene.weather
        mask = np.zeros((image.shape[0] - top, image.shape[1]), dtype=np.uint8)
        offset = -weather.sun[:2] / max(weather.sun[2], 0.12)
        sun_dark = int(255 * 0.62 * 1.3 * weather.sun_light * weather.sun[2] / max(weather.on_ground[1], 1e-3))
        shapes: list[tuple[np.ndarray, int]] = []
        eye = np.linalg.inv(camera_from_global)[:2, 3]
        for actor, pose in zip(self.scene.actors, poses, strict=False):
            if np.linalg.norm(pose[:2] - eye) > 70.0:
                continue
            length, width, height = actor.size
            if sun_dark > 8:
                base = footprint(pose, length, width)
                shifted = base + offset * height
                hull = cv2.convexHull(np.concatenate([base, shifted]).astype(np.float32))[:, 0]
                shapes.append((hull, sun_dark))
            shapes.append((footprint(pose, length * 1.04, width * 1.06), 105))
        for outline, darkness in sorted(shapes, key=lambda item: item[1]):
            corners = np.concatenate([outline, np.zeros((len(outline), 1))], axis=1)
            corners = clip_near(corners @ camera_from_global[:3, :3].T + camera_from_global[:3, 3])
            if len(corners) >= 3:
                pixels = to_pixels(corners, sensor.intrinsic) - [0, top]
                cv2.fillConvexPoly(mask, np.rint(pixels * 8).astype(np.int32), (darkness,), cv2.LINE_8, 3)
        reach = 2 * max(1, round(3 * image.shape[1] / 1600)) + 1
        soft = cv2.blur(mask, (reach, reach))
        light = cv2.cvtColor(cv2.bitwise_not(soft), cv2.COLOR_GRAY2BGR)
        cv2.multiply(image[top:], light, image[top:], 1 / 255)

    def _headlights(self, image: np.ndarray, sensor: CameraSensor, top: int) -> None:
        """The pool of light before the recording car."""
        if sensor.channel not in self._beams:
            height, width = image.shape[:2]
            u, v = np.meshgrid(np.arange(2, width, 4), np.arange(2, height, 4))
            rays = np.einsum(
                "ij,jhw->ihw",
                sensor.ego_from_camera[:3, :3] @ np.linalg.inv(sensor.intrinsic),
                np.stack([u, v, np.ones_like(u)]),
            )
            t = np.where(rays[2] < -1e-3, -sensor.ego_from_camera[2, 3] / np.minimum(rays[2], -1e-3), 1e3)
            x, y = sensor.ego_from_camera[0, 3] + t * rays[0], sensor.ego_from_camera[1, 3] + t * rays[1]
            strength = 5.0 if self.scene.weather.dark else 0.5
            gain = np.clip(32 * (1 + strength * beam(x, y)), 0, 255).astype(np.uint8)
            self._beams[sensor.channel] = cv2.cvtColor(cv2.resize(gain, (width, height)), cv2.COLOR_GRAY2BGR)
        cv2.multiply(image[top:], self._beams[sensor.channel][top:], image[top:], 1 / 32)

    def _haze(self, image: np.ndarray, ranges: np.ndarray, top: int) -> None:
        weather = self.scene.weather
        last = int(np.searchsorted(-ranges, -22.0))
        if last <= top:
            return
        share = (1 - np.exp(-np.minimum(ranges[top:last], 1e4) / weather.visibility_m))[:, None, None]
        image[top:last] = (image[top:last] * (1 - share) + np.array(weather.sky_horizon) * share).astype(np.uint8)


def beam(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Relative light of the recording car's headlights at points of the ego frame (m)."""
    ahead = x - 3.2
    angle = np.arctan2(y, np.maximum(ahead, 0.1))
    reach = np.exp(-np.maximum(ahead, 0) / 22.0) * np.minimum(np.maximum(ahead, 0) / 4.0, 1.0)
    return np.asarray(np.where(ahead > 0, reach * np.exp(-((angle / 0.45) ** 2)), 0.0))


def _panorama(scene: Scene, textures: Textures) -> np.ndarray:
    """The sky all around [SKY_ROWS, SKY_COLUMNS, 3], row 0 at the horizon, with clouds, sun and a distant skyline."""
    weather = scene.weather
    height = np.linspace(0, 1, SKY_ROWS)[:, None, None]
    horizon, top = np.array(weather.sky_horizon), np.array(weather.sky_top)
    sky = horizon + (top - horizon) * np.sqrt(height) * np.ones((1, SKY_COLUMNS, 1))
    cloud = textures.clouds[..., None] * weather.clouds * np.minimum(height * 6, 1)
    cloud_colour = np.clip(horizon * 1.06, 0, 252) if weather.clouds < 1 else horizon * 0.82
    sky = sky * (1 - cloud) + cloud_colour * cloud
    azimuth = np.arctan2(weather.sun[1], weather.sun[0])
    elevation = np.arcsin(weather.sun[2])
    columns = (np.arange(SKY_COLUMNS) / SKY_COLUMNS * 2 * np.pi - azimuth + np.pi) % (2 * np.pi) - np.pi
    rows = np.linspace(0, SKY_TOP_RAD, SKY_ROWS)
    away = np.hypot(columns[None] * np.cos(elevation), rows[:, None] - elevation)[..., None]
    if weather.sun_light > 0.2:
        sky = sky + 255 * np.exp(-((away / 0.035) ** 2)) + 70 * weather.sun_light * np.exp(-away / 0.22)
    # Far roofs and trees, faint behind the haze.
    rng = np.random.default_rng(len(scene.actors))
    edge = np.repeat(rng.uniform(0.2, 4.5, SKY_COLUMNS // 16), 16) + rng.uniform(0, 0.4, SKY_COLUMNS)
    under = np.degrees(rows)[:, None] < edge[None]
    tone = np.repeat(rng.uniform(0.72, 0.95, SKY_COLUMNS // 16), 16)[None, :, None] * horizon
    sky = np.where(under[..., None], tone, sky)
    return np.clip(sky, 0, 255).astype(np.uint8)
