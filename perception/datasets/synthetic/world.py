"""A scene: a road with traffic, its surroundings, its weather, and the recording car driving through it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception.datasets.synthetic import scenery
from perception.datasets.synthetic.actors import Thing, make_actor
from perception.datasets.synthetic.geometry import Geometry, compile_geometry
from perception.datasets.synthetic.rig import KEYFRAME_PERIOD_S
from perception.datasets.synthetic.road import LANE_M, Ground, GroundPainter, Road, crossing_road, main_road
from perception.datasets.synthetic.site import Site
from perception.datasets.synthetic.traffic import Lane, simulate_lane
from perception.datasets.synthetic.weather import Weather, sample_weather

STEP_S = 0.05
_LEAD_S = KEYFRAME_PERIOD_S + 0.1  # sweeps are recorded before the first key frame, and cameras fire before the LiDAR
_VIEW_M = 85.0
_EGO_LENGTH_M = 4.1
_TRAFFIC = {"car": 0.5, "truck": 0.12, "bus": 0.12, "trailer": 0.1, "motorcycle": 0.1, "construction_vehicle": 0.06}


@dataclass(frozen=True)
class Scene:
    """A scene over time. Things are actors first, then scenery; index = thing in the geometry."""

    times_s: np.ndarray  # [T] time grid, 0 at the first key frame
    ego_track: np.ndarray  # [T,4] x y z yaw of the ego frame
    actors: tuple[Thing, ...]
    geometry: Geometry
    ground: Ground
    weather: Weather
    tracks: np.ndarray  # [A,T,4] of the actors
    still: np.ndarray  # [S,4] of the scenery

    def ego_pose(self, time_s: float) -> np.ndarray:
        """Ego pose [4] at a time."""
        return _interpolate(self.ego_track[None], self.times_s, time_s)[0]

    def actor_poses(self, time_s: float) -> np.ndarray:
        """Poses [A,4] of the actors at a time."""
        return _interpolate(self.tracks, self.times_s, time_s)

    def poses(self, time_s: float) -> np.ndarray:
        """Poses [N,4] of all things at a time."""
        return np.concatenate([self.actor_poses(time_s), self.still])


def _interpolate(tracks: np.ndarray, times_s: np.ndarray, time_s: float) -> np.ndarray:
    position = (time_s - times_s[0]) / STEP_S
    index = int(np.clip(np.floor(position), 0, len(times_s) - 2))
    weight = position - index
    return np.asarray(tracks[:, index] * (1 - weight) + tracks[:, index + 1] * weight)


def make_scene(seed: np.random.SeedSequence, index: int, keyframes: int) -> Scene:
    """The index-th scene of a split: all its chance comes from `seed`, its kind of weather from `index`."""
    rng = np.random.default_rng(seed)
    weather = sample_weather(index, rng)
    duration = (keyframes - 1) * KEYFRAME_PERIOD_S
    times_s = np.arange(-_LEAD_S, duration + 2.5 * STEP_S, STEP_S)
    travel = 11.0 * duration
    lanes = int(rng.integers(1, 3))
    length = 2 * (_VIEW_M + 55) + travel
    road = main_road(rng, length, lanes, (0.0, 0.0))
    waits = bool(rng.random() < 0.4)  # the light is red for the main road
    ego_start = _VIEW_M + 50.0
    crossing_at = ego_start + (rng.uniform(28, 50) if waits else rng.uniform(0.3, 0.9) * travel + 10)
    crossing = crossing_road(road, crossing_at, 100.0)

    traffic, ego_track = _traffic(rng, road, crossing, crossing_at, waits, ego_start, times_s)
    low = ego_track[:, :2].min(axis=0) - _VIEW_M
    high = ego_track[:, :2].max(axis=0) + _VIEW_M
    # The map's corner is the global origin: shift everything so that the scene lies just inside it.
    shift = np.round(10.0 - low)
    low, high = low + shift, high + shift
    ego_track[:, :2] += shift
    road, crossing = (replace(r, x=r.x + shift[0], y=r.y + shift[1]) for r in (road, crossing))
    for thing in traffic:
        thing.track[:, :2] += shift

    painter = _paint_ground(rng, road, crossing, crossing_at, low, high, weather)
    site = _furnish(rng, road, crossing, crossing_at, waits, low, high, painter, ego_start, travel)
    walkers = _walkers(rng, road, crossing, crossing_at, waits, site, times_s, ego_start, travel)
    standing = [t for t in site.things if t.class_name]
    things = [t for t in traffic if _seen(t, ego_track)] + walkers + standing
    backdrop = [t for t in site.things if not t.class_name]
    tracks = np.stack([np.broadcast_to(t.track, (len(times_s), 4)) for t in things])
    still = np.concatenate([t.track for t in backdrop])
    geometry = compile_geometry([t.shape for t in things + backdrop])
    return Scene(times_s, ego_track, tuple(things), geometry, painter.finish(weather.on_ground), weather, tracks, still)


def _seen(thing: Thing, ego_track: np.ndarray) -> bool:
    return bool(np.linalg.norm(thing.track[:, :2] - ego_track[:, :2], axis=1).min() < _VIEW_M)


def _traffic(
    rng: np.random.Generator,
    road: Road,
    crossing: Road,
    crossing_at: float,
    waits: bool,
    ego_start: float,
    times_s: np.ndarray,
) -> tuple[list[Thing], np.ndarray]:
    """Moving vehicles of all lanes, and the ego's track [T,4]."""
    half = crossing.kerb + 5.0
    lanes = []
    for k in range(road.lanes):
        offset = (k + 0.5) * LANE_M
        lanes.append(Lane(road, -offset, 1, crossing_at - half if waits else None))
        lanes.append(Lane(road, offset, -1, road.length - crossing_at - half if waits else None))
    middle = crossing.length / 2
    stop = None if waits else middle - road.kerb - 5.0
    lanes += [Lane(crossing, -0.5 * LANE_M, 1, stop), Lane(crossing, 0.5 * LANE_M, -1, stop)]
    ego_lane = 2 * int(rng.integers(road.lanes))
    things: list[Thing] = []
    ego_track = np.zeros((len(times_s), 4))
    for number, lane in enumerate(lanes):
        queue, start, extent = _spawn(rng, lane)
        desired = rng.uniform(7.0, 12.5, len(start))
        if number == ego_lane:
            # The ego replaces whoever is where it starts; before the warm-up it was further back.
            position = ego_start - 20.0
            keep = np.abs(start - position) > extent / 2 + _EGO_LENGTH_M / 2 + 5.0
            queue = [q for q, k in zip(queue, keep, strict=True) if k]
            start = np.append(start[keep], position)
            extent = np.append(extent[keep], _EGO_LENGTH_M)
            desired = np.append(desired[keep], rng.uniform(8.0, 10.5))
        if not len(start):
            continue
        travelled = simulate_lane(start, extent, desired, lane.stop, len(times_s), STEP_S)
        for vehicles, column in zip(queue, travelled.T, strict=False):
            _follow(vehicles, lane, column)
            things += vehicles
        if number == ego_lane:
            # The ego frame's origin is the rear axle, 1.4 m behind the middle of the car.
            ego_track = lane.pose(travelled[:, -1] - 1.4)
    for side in (-1, 1):  # riders between the lanes and the parked cars
        lane = Lane(road, side * (road.lane_edge + 0.42), -side, None)
        start = np.cumsum(rng.uniform(35, 130, int(road.length / 60)))
        speed = rng.uniform(3.0, 6.0)
        for s in start[start < road.length]:
            if waits and abs(s - (crossing_at if side < 0 else road.length - crossing_at)) < speed * times_s[-1] + 15:
                continue
            rider = make_actor("bicycle" if rng.random() < 0.75 else "motorcycle", rng, rider=True)
            rider.track = lane.pose(s + speed * times_s)
            things.append(rider)
    return things, ego_track


def _spawn(rng: np.random.Generator, lane: Lane) -> tuple[list[list[Thing]], np.ndarray, np.ndarray]:
    """Vehicles along a lane: groups (a tractor and its trailer are one), their middles and lengths (m)."""
    names, weights = list(_TRAFFIC), list(_TRAFFIC.values())
    groups, start, extent = [], [], []
    s = float(rng.uniform(0, 12))
    while s < lane.road.length:
        name = str(rng.choice(names, p=weights))
        rider = name == "motorcycle"
        group = [make_actor(name, rng, rider=rider)]
        length = group[0].size[0]
        if name == "trailer":
            group.insert(0, make_actor("truck", rng, tractor=True))
            length += group[0].size[0] - 1.2
        groups.append(group)
        start.append(s + length / 2)
        extent.append(length)
        s += length + rng.uniform(7.0, 34.0)
    return groups, np.array(start), np.array(extent)


def _follow(vehicles: list[Thing], lane: Lane, travelled: np.ndarray) -> None:
    """Tracks of a vehicle, or of a tractor and its trailer one behind the other."""
    total = sum(v.size[0] for v in vehicles) - (1.2 if len(vehicles) > 1 else 0.0)
    front = travelled + total / 2
    for vehicle in vehicles:
        vehicle.track = lane.pose(front - vehicle.size[0] / 2)
        front = front - vehicle.size[0] + 1.2  # the trailer's nose lies over the tractor's rear


def _paint_ground(
    rng: np.random.Generator,
    road: Road,
    crossing: Road,
    crossing_at: float,
    low: np.ndarray,
    high: np.ndarray,
    weather: Weather,
) -> GroundPainter:
    painter = GroundPainter(low, high, rng, wet=weather.rain > 0, dark_lamps=weather.dark)
    middle = crossing.length / 2
    for each in (road, crossing):
        painter.pavement(each)
    for each in (road, crossing):
        painter.asphalt(each)
    box, across = crossing.pavement_edge + 1.0, road.pavement_edge + 1.0
    painter.markings(road, [(crossing_at - box, crossing_at + box)])
    painter.markings(crossing, [(middle - across, middle + across)])
    for sign in (-1, 1):
        painter.zebra(road, crossing_at + sign * (crossing.kerb + 2.4))
        painter.zebra(crossing, middle + sign * (road.kerb + 2.4))
        painter.stop_line(road, crossing_at + sign * (crossing.kerb + 5.0), sign)
        painter.stop_line(crossing, middle + sign * (road.kerb + 5.0), sign)
    for s in np.arange(10.0, road.length, 35.0):
        if abs(s - crossing_at) > 15:
            for k in range(road.lanes):
                painter.arrow(road, s, -(k + 0.5) * LANE_M, 1)
                painter.arrow(road, s, (k + 0.5) * LANE_M, -1)
    return painter


def _furnish(
    rng: np.random.Generator,
    road: Road,
    crossing: Road,
    crossing_at: float,
    waits: bool,
    low: np.ndarray,
    high: np.ndarray,
    painter: GroundPainter,
    ego_start: float,
    travel: float,
) -> Site:
    """All that stands still. Road works and yards first, for the rest keeps out of their way."""
    site = Site(low, high, rng)
    site.reserve(road.strip(0, road.length, -road.lane_edge - 0.8, road.lane_edge + 0.8))
    site.reserve(crossing.strip(0, crossing.length, -crossing.kerb - 0.1, crossing.kerb + 0.1))
    site.reserve(
        road.strip(crossing_at - crossing.kerb - 5.5, crossing_at + crossing.kerb + 5.5, -road.kerb, road.kerb)
    )
    first, last = ego_start - _VIEW_M, ego_start + travel + _VIEW_M
    for side in (-1, 1):
        for sign in (-1, 1):
            light = road.pose(
                crossing_at + sign * (crossing.kerb + 1.0), side * (road.kerb + 0.5), 1 if sign < 0 else -1
            )
            site.put_scenery(scenery.traffic_light(waits), light, 0.4, 0.4)
    near, far = ego_start - 25.0, ego_start + max(travel, 30.0) + 25.0
    for k, station in enumerate(np.arange(near, far, 38.0)):
        side = int(rng.choice([-1, 1]))
        station += rng.uniform(-6, 6)
        if abs(station + 11 - crossing_at) > crossing.pavement_edge + 18:
            site.road_works(road, side, station, float(rng.uniform(18, 26)), painter)
        if k % 2 == 0:
            other = station + rng.uniform(-8, 8)
            if abs(other - crossing_at) > crossing.pavement_edge + 20:
                site.yard(road, -side, other, painter)
    for side in (-1, 1):
        site.street_furniture(road, side, first, last, painter)
        site.parked_row(road, side, first, last, float(rng.uniform(0.35, 0.8)))
    walked = site.taken.copy()
    for each in (road, crossing):
        site.reserve(each.strip(0, each.length, -each.pavement_edge, each.pavement_edge))
    for side in (-1, 1):
        site.frontage(road, side, first, last)
    for side in (-1, 1):
        for s0, s1 in (
            (crossing.length / 2 - 85, crossing.length / 2 - 22),
            (crossing.length / 2 + 22, crossing.length / 2 + 85),
        ):
            site.frontage(crossing, side, s0, s1)
    site.taken = walked  # the pavements are free for walkers
    return site


def _walkers(
    rng: np.random.Generator,
    road: Road,
    crossing: Road,
    crossing_at: float,
    waits: bool,
    site: Site,
    times_s: np.ndarray,
    ego_start: float,
    travel: float,
) -> list[Thing]:
    """People walking along the pavements and over the crossing whose traffic waits."""
    walkers = []
    for _ in range(int((travel + 100) / 14)):
        side, direction = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
        s, d = rng.uniform(ego_start - 50, ego_start + travel + 50), side * (road.kerb + rng.uniform(1.2, 3.6))
        speed = float(rng.uniform(0.8, 1.8))
        track = road.pose(s + direction * speed * times_s, d, direction)
        corridor = np.concatenate([track[:, :2] + [0.3, 0.3], track[::-1, :2] - [0.3, 0.3]])
        if not site.is_free(corridor):
            continue
        site.reserve(corridor)
        walkers.append(_walker(rng, track))
    # Red for the main road: people cross it. Otherwise they cross the side road.
    crossed, middle, half = (road, crossing_at, crossing.kerb) if waits else (crossing, crossing.length / 2, road.kerb)
    for _ in range(int(rng.integers(2, 6))):
        direction, sign = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
        speed, begin = float(rng.uniform(1.0, 1.7)), rng.uniform(-crossed.kerb * 2, crossed.kerb)
        offsets = direction * (begin + speed * times_s)
        track = crossed.pose(middle + sign * (half + 2.4 + rng.uniform(-1.1, 1.1)), offsets)
        track[:, 3] += direction * np.pi / 2
        walkers.append(_walker(rng, track))
    return walkers


def _walker(rng: np.random.Generator, track: np.ndarray) -> Thing:
    walker = make_actor("pedestrian", rng, stride=float(rng.uniform(0.5, 1.0)))
    walker.track = track
    return walker
