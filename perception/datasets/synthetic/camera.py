"""The six cameras: ground, sky, objects, light and weather of a scene at one time, seen through a pinhole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.datasets.synthetic import effects
from perception.datasets.synthetic.backdrop import Backdrop
from perception.datasets.synthetic.raster import (
    NEAR_M,
    Projected,
    ZBuffer,
    clip_near,
    project_polygons,
    to_fixed,
    to_pixels,
    visible_sprites,
)
from perception.datasets.synthetic.rig import CameraSensor, global_from_pose
from perception.datasets.synthetic.shapes import Finish, Label
from perception.datasets.synthetic.textures import FACADE_M, SHADES, Textures, make_textures
from perception.datasets.synthetic.world import Scene

_VIEW_M = 160.0
_DETAIL_M = 75.0  # decals beyond are left out


@dataclass(frozen=True)
class View:
    """What one camera sees."""

    image: np.ndarray  # uint8 [H,W,3] BGR
    visible_px: np.ndarray  # [A] pixels of each actor in the picture
    alone_px: np.ndarray  # [A] pixels it would have with nothing before it
    face: np.ndarray  # int32 [H,W] face of every pixel, 0 background
    face_thing: np.ndarray  # [F+1] thing of every face, -1: background
    face_label: np.ndarray  # [F+1] label of every face, VOID: background
    inverse_depth: np.ndarray  # float32 [H,W] 1/m, 0: background


class Renderer:
    """Renders one scene; keeps the pictures and buffers that its views share."""

    def __init__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> None:
        self.scene = scene
        self.size = image_size
        self.textures: Textures = make_textures(rng, scene.weather.dark)
        self.backdrop = Backdrop(scene, self.textures, image_size)
        # Only vehicles in traffic drive with their lamps on.
        actors = np.array([not actor.parked for actor in scene.actors])
        self._lamps_on = np.concatenate([actors, np.ones(len(scene.still), dtype=bool)]) & scene.weather.headlights

    def render(self, sensor: CameraSensor, time_s: float, rng: np.random.Generator) -> View:
        """The view of a camera at a time (s after the first key frame)."""
        scene, (width, height) = self.scene, self.size
        ego = scene.ego_pose(time_s)
        global_from_camera = global_from_pose(ego) @ sensor.ego_from_camera
        camera_from_global = np.linalg.inv(global_from_camera)
        poses = scene.poses(time_s)
        camera_from_object = camera_from_global @ global_from_pose(poses)
        in_view = self._in_view(camera_from_object, sensor.intrinsic)
        projected = project_polygons(scene.geometry.polygons, camera_from_object, in_view, sensor.intrinsic)

        buffer = ZBuffer(width, height)
        faces, alone = self._draw_polygons(buffer, projected, sensor.intrinsic)
        table, things, labels, first_sprite = self._shade(projected, faces, sensor.ego_from_camera, poses)
        sprites = self._draw_sprites(buffer, camera_from_object, in_view, sensor.intrinsic, first_sprite)
        table, things, labels = (np.concatenate(p) for p in zip((table, things, labels), sprites, strict=True))

        background = self.backdrop.render(sensor, global_from_camera, ego, poses)
        packed = np.zeros(len(table), dtype=np.uint32)
        packed.view(np.uint8).reshape(-1, 4)[:, :3] = np.clip(table, 0, 255)
        image = cv2.cvtColor(packed[buffer.face].view(np.uint8).reshape(height, width, 4), cv2.COLOR_BGRA2BGR)
        cv2.copyTo(background, (buffer.face == 0).view(np.uint8), image)
        self._facades(image, buffer, projected, faces, table, sensor.intrinsic)
        lamps = self._lamps(buffer, projected, faces, sensor.intrinsic)
        image = effects.finish(image, scene.weather, self.textures, lamps, sensor.intrinsic, camera_from_global, rng)

        counts = np.bincount(buffer.face.ravel(), minlength=len(table))
        visible = np.zeros(len(scene.actors), dtype=np.int64)
        own = (things >= 0) & (things < len(scene.actors))
        np.add.at(visible, things[own], counts[own])
        return View(image, visible, alone, buffer.face, things, labels, buffer.inverse_depth)

    def masks(self, sensor: CameraSensor, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """The actor of every pixel [H,W] int32 (-1: none) and its label [H,W] uint8 (Label; actors THING + class)."""
        view = self.render(sensor, time_s, np.random.default_rng(0))
        thing = view.face_thing[view.face]
        instance = np.where(thing < len(self.scene.actors), thing, -1).astype(np.int32)
        global_from_camera = global_from_pose(self.scene.ego_pose(time_s)) @ sensor.ego_from_camera
        background = self.backdrop.labels(sensor, global_from_camera)
        label = np.where(view.face > 0, view.face_label[view.face], background).astype(np.uint8)
        return instance, label

    def _in_view(self, camera_from_object: np.ndarray, intrinsic: np.ndarray) -> np.ndarray:
        """Objects [N] whose bounding sphere meets the view."""
        geometry = self.scene.geometry
        middle = camera_from_object[:, :3, 3] + camera_from_object[:, :3, 2] * geometry.height[:, None] / 2
        radius = geometry.radius
        inside = (middle[:, 2] > -radius) & (middle[:, 2] < _VIEW_M + radius)
        width, height = self.size
        for axis, extent in ((0, width), (1, height)):
            focal, centre = intrinsic[axis, axis], intrinsic[axis, 2]
            for edge, sign in ((0.0, 1.0), (float(extent), -1.0)):
                slope = (edge - centre) / focal
                inside &= sign * (middle[:, axis] - slope * middle[:, 2]) / np.hypot(1, slope) > -radius
        return np.asarray(inside)

    def _draw_polygons(
        self, buffer: ZBuffer, projected: Projected, intrinsic: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw all polygons; rows of `projected` per face number - 1, and pixels [A] that each actor has alone."""
        polygons = self.scene.geometry.polygons
        index = projected.index
        pixels = to_pixels(np.maximum(projected.corners, [-np.inf, -np.inf, NEAR_M]), intrinsic)
        crosses = projected.corners[..., 2].min(axis=1) < NEAR_M
        things, layers, counts = polygons.thing[index], polygons.layer[index], polygons.count[index]
        fixed, boxes = to_fixed(pixels, self.size)
        shown = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]) | crosses
        small = (pixels.max(axis=1) - pixels.min(axis=1)).max(axis=1) < 1.5
        shown &= ~((layers > 0) & (small | (projected.depth > _DETAIL_M)))
        rows = np.flatnonzero(shown)
        # Decals are nearer by a hair, 0.06% per layer; faces seen edge-on farther, lest they show along shared edges.
        bias = 1.0 + 0.0006 * layers - 0.0008 * (1 - projected.facing)
        planes = (projected.plane * bias[:, None]).astype(np.float32)
        nearest = bias / np.maximum(projected.corners[..., 2].min(axis=1), NEAR_M)
        alone = np.zeros(len(self.scene.actors), dtype=np.int64)
        current = -1
        for face, row in enumerate(rows.tolist(), start=1):
            points, box = fixed[row, : counts[row]], boxes[row]
            if crosses[row]:
                clipped = clip_near(projected.corners[row, : counts[row]])
                if len(clipped) < 3:
                    continue
                (points,), (box,) = to_fixed(to_pixels(clipped, intrinsic)[None], self.size)
                if box[0] >= box[2] or box[1] >= box[3]:
                    continue
            x0, y0, x1, y1 = box.tolist()
            buffer.polygon(points, (x0, y0, x1, y1), planes[row], nearest[row], face)
            thing = things[row]
            if layers[row] or thing >= len(alone):
                continue
            if thing != current:
                if current >= 0:
                    alone[current] = buffer.end_object()
                buffer.begin_object()
                current = thing
            buffer.count(points, (x0, y0, x1, y1))
        if current >= 0:
            alone[current] = buffer.end_object()
        return rows, alone

    def _shade(
        self, projected: Projected, rows: np.ndarray, ego_from_camera: np.ndarray, poses: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Colours [F+1,3], things [F+1] and labels [F+1] of the faces, and the next free face number."""
        polygons, weather = self.scene.geometry.polygons, self.scene.weather
        index = projected.index[rows]
        yaw = poses[polygons.thing[index], 3]
        normal = polygons.normal[index]
        world = np.stack(
            [
                normal[:, 0] * np.cos(yaw) - normal[:, 1] * np.sin(yaw),
                normal[:, 0] * np.sin(yaw) + normal[:, 1] * np.cos(yaw),
                normal[:, 2],
            ],
            axis=1,
        )
        colour = effects.lit(
            polygons.colour[index],
            polygons.finish[index],
            world,
            projected.corners[rows].mean(axis=1),
            projected.facing[rows],
            self._lamps_on[polygons.thing[index]],
            ego_from_camera,
            weather,
        )
        things = np.concatenate([[-1], polygons.thing[index]])
        labels = np.concatenate([[Label.VOID], polygons.label[index]])
        return np.concatenate([np.zeros((1, 3)), colour]), things, labels, len(rows) + 1

    def _draw_sprites(
        self, buffer: ZBuffer, camera_from_object: np.ndarray, in_view: np.ndarray, intrinsic: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the leaves; colours, things and labels of the faces they add, SHADES per sprite."""
        sprites, weather = self.scene.geometry.sprites, self.scene.weather
        rows, middle = visible_sprites(sprites, camera_from_object, in_view)
        for k, (row, centre) in enumerate(zip(rows, middle, strict=True)):
            size = sprites.size[row] / centre[2] * intrinsic[0, 0]
            corner = to_pixels(centre, intrinsic) - size / 2
            if size.max() >= 1.0:
                shape = (max(1, int(size[0])), max(1, int(size[1])))
                pattern = self.textures.leaves[sprites.pattern[row]]
                x, y = int(corner[0]), int(corner[1])
                buffer.sprite(x, y, shape, pattern, float(1.0 / centre[2]), first + k * SHADES)
        tones = np.linspace(0.45, 1.3, SHADES)
        colour = (sprites.colour[rows][:, None] * tones[:, None]).reshape(-1, 3)
        repeated = np.repeat(middle, SHADES, axis=0)
        colour = effects.lit_flat(colour, repeated, weather)
        return colour, np.repeat(sprites.thing[rows], SHADES), np.repeat(sprites.label[rows], SHADES)

    def _facades(
        self,
        image: np.ndarray,
        buffer: ZBuffer,
        projected: Projected,
        rows: np.ndarray,
        table: np.ndarray,
        intrinsic: np.ndarray,
    ) -> None:
        """Paint windows onto the walls that carry a facade."""
        polygons = self.scene.geometry.polygons
        for face, row in enumerate(rows, start=1):
            texture = polygons.texture[projected.index[row]]
            if texture < 0:
                continue
            corners = projected.corners[row, :4]
            clipped = clip_near(corners)
            if len(clipped) < 3:
                continue
            pixels = to_pixels(clipped, intrinsic)
            x0, y0 = np.maximum(pixels.min(axis=0).astype(int), 0)
            x1, y1 = np.minimum(pixels.max(axis=0).astype(int) + 2, self.size)
            if x1 - x0 < 3 or y1 - y0 < 3:
                continue
            mask = (buffer.face[y0:y1, x0:x1] == face).view(np.uint8)
            if not cv2.countNonZero(mask):
                continue
            nearest = max(1.0 / float(projected.plane[row] @ [*pixels[np.argmin(clipped[:, 2])], 1.0]), 1.0)
            levels = self.textures.facades[texture]
            texels_m = levels[0].shape[0] / (4 * FACADE_M)
            level = int(np.clip(np.log2(max(texels_m * 1.6 * nearest / intrinsic[0, 0], 1.0)), 0, len(levels) - 1))
            tile = levels[level]
            texels_m = tile.shape[0] / (4 * FACADE_M)
            along, up = corners[1] - corners[0], corners[3] - corners[0]
            frame = np.stack([along / np.linalg.norm(along), -up / np.linalg.norm(up), corners[3]], axis=1)
            picture_from_texture = intrinsic @ frame @ np.diag([1 / texels_m, 1 / texels_m, 1.0])
            offset = np.array([[1.0, 0, -x0], [0, 1.0, -y0], [0, 0, 1.0]])
            base = polygons.colour[projected.index[row]]
            lit = np.clip(tile * (table[face] / base).astype(np.float32), 0, 255).astype(np.uint8)
            warped = cv2.warpPerspective(
                lit,
                np.linalg.inv(offset @ picture_from_texture),
                (int(x1 - x0), int(y1 - y0)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_WRAP,
            )
            cv2.copyTo(warped, mask, image[y0:y1, x0:x1])

    def _lamps(
        self, buffer: ZBuffer, projected: Projected, rows: np.ndarray, intrinsic: np.ndarray
    ) -> list[tuple[int, int, float, int]]:
        """Lit lamps that are seen: pixel u, v, glow radius (px) and finish."""
        if not self.scene.weather.headlights:
            return []
        polygons = self.scene.geometry.polygons
        finish = polygons.finish[projected.index[rows]]
        lamps = []
        for k in np.flatnonzero((finish >= Finish.HEADLIGHT) & self._lamps_on[polygons.thing[projected.index[rows]]]):
            middle = projected.corners[rows[k]].mean(axis=0)
            if middle[2] < 1.0:
                continue
            u, v = to_pixels(middle, intrinsic).astype(int)
            if 0 <= u < self.size[0] and 0 <= v < self.size[1] and buffer.face[v, u] == k + 1:
                radius = 0.35 * intrinsic[0, 0] / middle[2] * (0.6 + 0.4 * projected.facing[rows[k]])
                lamps.append((int(u), int(v), float(radius), int(finish[k])))
        return lamps
