"""A 32-beam spinning LiDAR, ray-cast against convex solids and the ground.

A solid's footprint gives the azimuth columns that can meet it, a column's way through the footprint gives the beams,
and only those rays are clipped against the solid's planes (Cyrus and Beck, 1978); the nearest hit of a ray wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.geometry import SolidSet, compile_geometry
from perception.datasets.synthetic.rig import BEAM_ELEVATIONS_RAD, NUM_AZIMUTHS, NUM_BEAMS, global_from_pose
from perception.datasets.synthetic.road import MARKING
from perception.datasets.synthetic.shapes import Label, Material, Shape
from perception.datasets.synthetic.weather import Weather
from perception.datasets.synthetic.world import Scene

MAX_RANGE_M = 95.0
GROUND = -1
NOTHING = -2
# Mean returned intensity (0..255) and share of lost returns, per material.
_RETURNS = {
    Material.PAINT: (26.0, 0.06),
    Material.DARK: (6.0, 0.4),
    Material.GLASS: (12.0, 0.62),
    Material.CLOTH: (16.0, 0.06),
    Material.PLASTIC: (28.0, 0.05),
    Material.CONCRETE: (18.0, 0.03),
    Material.METAL: (24.0, 0.1),
    Material.FOLIAGE: (12.0, 0.35),
    Material.RETRO: (120.0, 0.02),
    Material.SPOKES: (14.0, 0.72),
}
_REFLECTIVITY = np.array([_RETURNS[m][0] for m in Material])
_LOSS = np.array([_RETURNS[m][1] for m in Material])
_GROUND_REFLECTIVITY = {Label.ROAD: 7.0, Label.SIDEWALK: 17.0, Label.TERRAIN: 11.0, MARKING: 42.0}


@dataclass(frozen=True)
class Hits:
    """Nearest hit of every ray; ray = azimuth * 32 + beam, azimuth 0 just right of backwards, turning clockwise."""

    range_m: np.ndarray  # [R] inf where nothing is met
    thing: np.ndarray  # [R] index of the object, GROUND or NOTHING
    material: np.ndarray  # [R] of the solid met; -1 for ground and nothing
    incidence: np.ndarray  # [R] cosine between the ray and the surface


def ray_directions() -> np.ndarray:
    """Unit directions [R,3] of all rays in the LiDAR frame."""
    azimuth = -np.pi - (np.arange(NUM_AZIMUTHS) + 0.5) * 2 * np.pi / NUM_AZIMUTHS
    cos_el, sin_el = np.cos(BEAM_ELEVATIONS_RAD), np.sin(BEAM_ELEVATIONS_RAD)
    x, y = np.cos(azimuth)[:, None] * cos_el, np.sin(azimuth)[:, None] * cos_el
    return np.stack([x, y, np.broadcast_to(sin_el, x.shape)], axis=-1).reshape(-1, 3)


_DIRECTIONS = ray_directions()
_SLOPES = np.tan(BEAM_ELEVATIONS_RAD)


def ego_body() -> Shape:
    """The recording car's roof and bonnet in its own frame (the origin is the rear axle)."""
    shape = Shape()
    shape.block((-0.3, 1.9), (-0.66, 0.66), (1.0, 1.56), (0, 0, 0), inset=(0.1, 0.1, 0.08))
    shape.block((-0.7, 3.2), (-0.85, 0.85), (0.3, 0.9), (0, 0, 0), inset=(0.2, 0.1, 0.05))
    return shape


def cast(solids: list[SolidSet], lidar_from_object: np.ndarray, lidar_from_global: np.ndarray) -> Hits:
    """Meet every ray with solids and the ground plane.

    `lidar_from_object` [N,4,4] per object; the ground is global z = 0. Returns the nearest hits.
    """
    num_rays = len(_DIRECTIONS)
    best = np.full(num_rays, np.inf)
    thing, material = np.full(num_rays, NOTHING), np.full(num_rays, -1)
    incidence = np.ones(num_rays)
    up = lidar_from_global[:3, 2]
    offset = up @ lidar_from_global[:3, 3]
    descent = _DIRECTIONS @ up
    down = descent < -1e-9
    best[down] = offset / descent[down]
    far = best > MAX_RANGE_M
    best[far] = np.inf
    thing[~far] = GROUND
    incidence[~far] = -descent[~far]
    for group in solids:
        if not len(group.thing):
            continue
        ray, distance, solid, cosine = _clip(group, lidar_from_object)
        nearer = distance < best[ray]
        ray, distance, solid, cosine = ray[nearer], distance[nearer], solid[nearer], cosine[nearer]
        np.minimum.at(best, ray, distance)
        wins = distance == best[ray]
        ray, solid = ray[wins], solid[wins]
        thing[ray], material[ray] = group.thing[solid], group.material[solid]
        incidence[ray] = cosine[wins]
    return Hits(best, thing, material, incidence)


def _clip(group: SolidSet, lidar_from_object: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All (ray, range, solid, cosine of incidence) of rays that meet a solid of the group."""
    transform = lidar_from_object[group.thing]
    rotation, translation = transform[:, :3, :3], transform[:, :3, 3]
    vertices = np.einsum("kij,kvj->kvi", rotation, group.vertices) + translation[:, None]
    near = np.linalg.norm(vertices[..., :2], axis=2).min(axis=1) < MAX_RANGE_M
    near |= np.linalg.norm(vertices.mean(axis=1), axis=1) < MAX_RANGE_M
    kept = np.flatnonzero(near)
    vertices, rotation, translation = vertices[kept], rotation[kept], translation[kept]
    normals = np.einsum("kij,kfj->kfi", rotation, group.planes[kept, :, :3])
    offsets = group.planes[kept, :, 3] + np.einsum("kfi,ki->kf", normals, translation)

    pair_solid, pair_column, entry, leave = _columns(vertices)
    low, high = vertices[..., 2].min(axis=1)[pair_solid], vertices[..., 2].max(axis=1)[pair_solid]
    entry = np.maximum(entry, 1e-3)
    lowest = np.minimum(low / entry, low / leave)
    highest = np.maximum(high / entry, high / leave)
    first = np.searchsorted(_SLOPES, lowest - 1e-9)
    count = np.searchsorted(_SLOPES, highest + 1e-9) - first
    index, beam = _expand(first, count)
    solid = pair_solid[index]
    ray = pair_column[index] * NUM_BEAMS + beam

    direction = _DIRECTIONS[ray]
    start, stop = np.zeros(len(ray)), np.full(len(ray), np.inf)
    cosine = np.zeros(len(ray))
    for face in range(normals.shape[1]):
        normal = normals[solid, face]
        rate = direction[:, 0] * normal[:, 0] + direction[:, 1] * normal[:, 1] + direction[:, 2] * normal[:, 2]
        distance = offsets[solid, face]
        crossing = distance / np.where(np.abs(rate) < 1e-12, 1e-12, rate)
        entering = (rate < 0) & (crossing > start)
        start = np.where(entering, crossing, start)
        cosine = np.where(entering, -rate, cosine)
        stop = np.where(rate > 0, np.minimum(stop, crossing), stop)
        stop = np.where((np.abs(rate) < 1e-12) & (distance < 0), -1.0, stop)
    hit = (start > 0) & (start < stop) & (start < MAX_RANGE_M)
    return ray[hit], start[hit], kept[solid[hit]], cosine[hit]


def _columns(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Azimuth columns that cross each solid's footprint: solid, column, and ranges of entry and exit (m)."""
    # A footprint is the rectangle along the solid's own first bottom edge.
    edge = vertices[:, 1, :2] - vertices[:, 0, :2]
    length = np.linalg.norm(edge, axis=1)
    along = np.where(length[:, None] > 1e-9, edge / np.maximum(length, 1e-9)[:, None], [1.0, 0.0])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u = np.einsum("kvi,ki->kv", vertices[..., :2], along)
    v = np.einsum("kvi,ki->kv", vertices[..., :2], across)
    limits = np.stack([u.min(1), u.max(1), v.min(1), v.max(1)], axis=1)

    corner_u, corner_v = limits[:, [0, 1, 1, 0]], limits[:, [2, 2, 3, 3]]
    x = corner_u * along[:, :1] + corner_v * across[:, :1]
    y = corner_u * along[:, 1:] + corner_v * across[:, 1:]
    around = (limits[:, 0] <= 0) & (limits[:, 1] >= 0) & (limits[:, 2] <= 0) & (limits[:, 3] >= 0)
    middle = np.arctan2(y.mean(axis=1), x.mean(axis=1))
    spread = (np.arctan2(y, x) - middle[:, None] + np.pi) % (2 * np.pi) - np.pi
    step = 2 * np.pi / NUM_AZIMUTHS
    # Column c looks along -pi - (c + 0.5) * step: clockwise, so the greatest azimuth comes first.
    first = np.ceil((-np.pi - middle - spread.max(axis=1)) / step - 0.5).astype(np.int64)
    last = np.floor((-np.pi - middle - spread.min(axis=1)) / step - 0.5).astype(np.int64)
    first, last = np.where(around, 0, first), np.where(around, NUM_AZIMUTHS - 1, last)
    solid, column = _expand(first, np.maximum(last - first + 1, 0))
    column %= NUM_AZIMUTHS

    azimuth = -np.pi - (column + 0.5) * step
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    entry, leave = np.zeros(len(solid)), np.full(len(solid), np.inf)
    for axis, (low, high) in ((along, (0, 1)), (across, (2, 3))):
        rate = cos * axis[solid, 0] + sin * axis[solid, 1]
        rate = np.where(np.abs(rate) < 1e-12, 1e-12, rate)
        a, b = limits[solid, low] / rate, limits[solid, high] / rate
        entry, leave = np.maximum(entry, np.minimum(a, b)), np.minimum(leave, np.maximum(a, b))
    crossed = entry < leave
    return solid[crossed], column[crossed], entry[crossed], leave[crossed]


def _expand(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (i, first[i] + j) for j < count[i]."""
    index = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    return index, first[index] + within


class LidarScanner:
    """The LiDAR of a car in one scene."""

    def __init__(self, scene: Scene, ego_from_lidar: np.ndarray) -> None:
        self.scene, self._ego_from_lidar = scene, ego_from_lidar
        self._lidar_from_ego = np.linalg.inv(ego_from_lidar)
        boxes, own = scene.geometry.hexahedra, compile_geometry([ego_body()]).hexahedra
        ego_index = len(scene.actors) + len(scene.still)
        self._solids = [
            SolidSet(
                np.concatenate([boxes.vertices, own.vertices]),
                np.concatenate([boxes.planes, own.planes]),
                np.concatenate([boxes.thing, own.thing + ego_index]),
                np.concatenate([boxes.material, own.material]),
            ),
            scene.geometry.prisms,
        ]

    def scan(self, time_s: float, rng: np.random.Generator) -> np.ndarray:
        """One sweep: points [P,5] float32 = x y z (m, LiDAR frame), intensity 0..255, ring.

        It is a snapshot: nothing moves while the LiDAR turns (nuScenes' sweeps are motion-compensated).
        """
        scene = self.scene
        lidar_from_global = self._lidar_from_ego @ np.linalg.inv(global_from_pose(scene.ego_pose(time_s)))
        lidar_from_object = lidar_from_global @ global_from_pose(scene.poses(time_s))
        hits = cast(self._solids, np.concatenate([lidar_from_object, self._lidar_from_ego[None]]), lidar_from_global)
        return _returns(hits, scene, lidar_from_global, scene.weather, rng)


def _returns(
    hits: Hits, scene: Scene, lidar_from_global: np.ndarray, weather: Weather, rng: np.random.Generator
) -> np.ndarray:
    """What the receiver makes of the hits: noise, intensity, lost pulses, rain."""
    met = np.flatnonzero(np.isfinite(hits.range_m))
    distance, material = hits.range_m[met], hits.material[met]
    on_ground = hits.thing[met] == GROUND
    direction = _DIRECTIONS[met]
    reflectivity = _REFLECTIVITY[material]
    loss = _LOSS[material]
    points = direction * distance[:, None]
    global_from_lidar = np.linalg.inv(lidar_from_global)
    spot = points[on_ground] @ global_from_lidar[:2, :3].T + global_from_lidar[:2, 3]
    ground = np.zeros(256)
    for label, value in _GROUND_REFLECTIVITY.items():
        ground[int(label)] = value
    reflectivity[on_ground] = ground[scene.ground.label_at(spot)] * (0.5 if weather.rain else 1.0)
    # A shallow return on the ground fades with range, sooner on a wet road; a small share is lost anywhere.
    fade = (0.012 + 0.03 * weather.rain) * np.maximum(distance - 12.0, 0.0)
    loss[on_ground] = np.clip(0.03 + fade[on_ground], 0, 0.97)
    incidence = hits.incidence[met]
    loss = loss + (1 - loss) * np.clip((distance - 45.0) / 90.0, 0, 0.6) * np.where(incidence < 0.3, 1.0, 0.6)
    loss = loss + (1 - loss) * weather.rain * np.clip(0.06 + distance / 220.0, 0, 0.5)
    kept = rng.random(len(met)) >= loss
    noise = rng.normal(0.0, 0.018, len(met))
    porous = material == Material.FOLIAGE
    noise[porous] += rng.uniform(0.0, 0.9, int(porous.sum()))
    spread = rng.gamma(4.0, 0.25, len(met))
    intensity = np.clip(np.round(reflectivity * (0.35 + 0.65 * incidence) * spread), 0, 255)
    points = direction * (distance + noise)[:, None]
    if weather.rain:  # drops near the sensor
        drops = kept & (rng.random(len(met)) < 0.012 * weather.rain)
        points[drops] = direction[drops] * rng.uniform(1.5, 9.0, int(drops.sum()))[:, None]
        intensity[drops] = rng.integers(0, 4, int(drops.sum()))
        points = np.where(drops[:, None] & (distance < 2.0)[:, None], direction * distance[:, None], points)
    ring = met % NUM_BEAMS
    return np.concatenate([points, intensity[:, None], ring[:, None]], axis=1)[kept].astype(np.float32)
