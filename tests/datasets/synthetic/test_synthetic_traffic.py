"""Traffic keeps its distance and stops where it must; placed things do not overlap."""

import numpy as np
import pytest
from shapely.geometry import Polygon

from perception.datasets.synthetic.road import LANE_M, crossing_road, main_road
from perception.datasets.synthetic.site import footprint
from perception.datasets.synthetic.traffic import simulate_lane
from perception.datasets.synthetic.world import Scene, make_scene


def test_a_queue_never_collides_and_stops_at_the_line() -> None:
    rng = np.random.default_rng(0)
    length = rng.uniform(4, 12, 8)
    start = np.cumsum(length + rng.uniform(8, 25, 8))
    stop = float(start[-1] + 80)
    shuffled = rng.permutation(8)
    tracks = simulate_lane(start[shuffled], length[shuffled], rng.uniform(7, 12, 8), stop, 600, 0.05)
    tracks, length = tracks[:, np.argsort(shuffled)], length
    gaps = (tracks[:, 1:] - length[1:] / 2) - (tracks[:, :-1] + length[:-1] / 2)
    assert gaps.min() > 0.3
    front = tracks[-1, -1] + length[-1] / 2
    assert stop - 3.0 < front <= stop + 0.3
    assert (np.diff(tracks, axis=0) >= -1e-9).all(), "nothing rolls backwards"
    assert np.abs(np.diff(tracks[-10:], axis=0)).max() < 0.01, "the queue stands"


def test_free_traffic_reaches_its_speed() -> None:
    tracks = simulate_lane(np.array([0.0]), np.array([4.5]), np.array([10.0]), None, 400, 0.05)
    assert (tracks[-1, 0] - tracks[-2, 0]) / 0.05 == pytest.approx(10.0, rel=0.02)


def test_road_stations_are_metres_and_offsets_point_left() -> None:
    road = main_road(np.random.default_rng(2), 200.0, 2, (5.0, 7.0))
    step = road.pose(np.arange(0, 199.0), 0.0)
    np.testing.assert_allclose(np.linalg.norm(np.diff(step[:, :2], axis=0), axis=1), 1.0, atol=2e-3)
    at, left = road.pose(50.0, 0.0), road.pose(50.0, LANE_M)
    heading = np.array([np.cos(at[3]), np.sin(at[3])])
    aside = left[:2] - at[:2]
    assert np.linalg.norm(aside) == pytest.approx(LANE_M, abs=1e-6)
    assert heading[0] * aside[1] - heading[1] * aside[0] > 0
    crossing = crossing_road(road, 100.0, 60.0)
    np.testing.assert_allclose(crossing.pose(60.0, 0.0)[:2], road.pose(100.0, 0.0)[:2], atol=1e-6)


@pytest.fixture(scope="module")
def scenes(day_scene: Scene) -> list[Scene]:
    return [day_scene, make_scene(np.random.SeedSequence(12), 1, 3)]


def test_no_two_objects_stand_in_each_other(scenes: list[Scene]) -> None:
    overlaps = total = 0
    for scene in scenes:
        poses = scene.actor_poses(0.5)
        outlines = [Polygon(footprint(p, a.size[0], a.size[1])) for p, a in zip(poses, scene.actors, strict=True)]
        ego = scene.ego_pose(0.5).copy()
        ego[:2] += 1.4 * np.array([np.cos(ego[3]), np.sin(ego[3])])
        car = Polygon(footprint(ego, 4.1, 1.75))
        assert not any(o.intersects(car) for o in outlines), "nothing stands in the recording car"
        for i, one in enumerate(outlines):
            for j in range(i):
                shared = one.intersection(outlines[j]).area
                names = {scene.actors[i].class_name, scene.actors[j].class_name}
                # A trailer's nose lies over its tractor; people who cross a street may brush one another.
                if names not in ({"truck", "trailer"}, {"pedestrian"}):
                    total += 1
                    overlaps += shared > 0.05
    assert total > 1000 and overlaps <= 2


def test_actors_move_smoothly(scenes: list[Scene]) -> None:
    for scene in scenes:
        step = np.linalg.norm(np.diff(scene.tracks[..., :2], axis=1), axis=2)
        assert step.max() < 20.0 * 0.05
        assert np.abs(np.diff(scene.tracks[..., 3], axis=1)).max() < 0.05
