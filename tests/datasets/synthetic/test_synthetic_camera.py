"""The renderer against projection by hand, and the two sensors against each other."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from perception.datasets.synthetic.camera import Renderer
from perception.datasets.synthetic.lidar import LidarScanner
from perception.datasets.synthetic.rig import global_from_pose, make_rig
from perception.datasets.synthetic.shapes import Label
from perception.datasets.synthetic.world import Scene

SIZE = (480, 270)


@pytest.fixture(scope="module")
def renderer(day_scene: Scene) -> Renderer:
    return Renderer(day_scene, SIZE, np.random.default_rng(0))


def box_corners(size: tuple[float, float, float]) -> np.ndarray:
    length, width, height = size
    signs = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
    return signs * [length, width, height]


def test_pixels_of_an_actor_fill_its_projected_box(day_scene: Scene, renderer: Renderer) -> None:
    checked = 0
    for sensor in make_rig(SIZE).cameras:
        view = renderer.render(sensor, 0.5, np.random.default_rng(0))
        camera_from_global = np.linalg.inv(global_from_pose(day_scene.ego_pose(0.5)) @ sensor.ego_from_camera)
        thing = view.face_thing[view.face]
        for index, pose in enumerate(day_scene.actor_poses(0.5)):
            corners = box_corners(day_scene.actors[index].size)
            seen = camera_from_global @ global_from_pose(pose) @ np.concatenate([corners, np.ones((8, 1))], axis=1).T
            if seen[2].min() < 1.0:
                continue
            pixels = (sensor.intrinsic @ seen[:3] / seen[2])[:2].T
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            rows, columns = np.nonzero(thing == index)
            if not len(rows):
                continue
            # Nothing of the actor lies outside its box, a pixel of rounding apart.
            assert columns.min() >= low[0] - 1.5 and columns.max() <= high[0] + 1.5
            assert rows.min() >= low[1] - 1.5 and rows.max() <= high[1] + 1.5
            inside = low.min() > 0 and (high < SIZE).all()
            if inside and view.visible_px[index] == view.alone_px[index] and min(high - low) > 8:
                extent = np.array([np.ptp(columns), np.ptp(rows)])
                boxy = day_scene.actors[index].class_name in ("car", "truck", "bus", "trailer", "barrier")
                assert (extent > (0.75 if boxy else 0.5) * (high - low)).all(), day_scene.actors[index].class_name
                checked += 1
    assert checked >= 5


def test_lidar_and_cameras_see_the_same_objects(day_scene: Scene, renderer: Renderer) -> None:
    """Points inside an actor's box project to that actor's pixels, where nothing stands before it."""
    rig, time_s = make_rig(SIZE), 0.5
    points = LidarScanner(day_scene, rig.ego_from_lidar).scan(time_s, np.random.default_rng(0))
    where = global_from_pose(day_scene.ego_pose(time_s)) @ rig.ego_from_lidar
    points = points[:, :3] @ where[:3, :3].T + where[:3, 3]
    agree = total = 0
    for sensor in rig.cameras:
        view = renderer.render(sensor, time_s, np.random.default_rng(0))
        camera_from_global = np.linalg.inv(global_from_pose(day_scene.ego_pose(time_s)) @ sensor.ego_from_camera)
        thing = view.face_thing[view.face]
        for index, pose in enumerate(day_scene.actor_poses(time_s)):
            if view.visible_px[index] < 300 or view.visible_px[index] < 0.95 * view.alone_px[index]:
                continue
            own = (points - pose[:3]) @ global_from_pose(pose)[:3, :3]
            length, width, height = day_scene.actors[index].size
            inside = (np.abs(own) < [length / 2, width / 2, height]).all(axis=1) & (own[:, 2] > 0.05)
            seen = camera_from_global[:3, :3] @ points[inside].T + camera_from_global[:3, 3:]
            pixels = np.round((sensor.intrinsic @ seen / seen[2])[:2]).astype(int)
            kept = (seen[2] > 1) & (pixels >= 0).all(axis=0) & (pixels < np.array(SIZE)[:, None]).all(axis=0)
            agree += int((thing[pixels[1, kept], pixels[0, kept]] == index).sum())
            total += int(kept.sum())
    assert total > 200 and agree > 0.85 * total  # glass lets the LiDAR through; the two stand apart


def test_an_object_behind_another_is_hidden(day_scene: Scene) -> None:
    """A car put behind a bus loses its pixels; alone it has them."""
    names = [actor.class_name for actor in day_scene.actors]
    car, bus = names.index("car"), names.index("bus")
    ego = day_scene.ego_pose(0.0)
    ahead = np.array([np.cos(ego[3]), np.sin(ego[3]), 0.0, 0.0])
    tracks = day_scene.tracks.copy()
    tracks[:, :, 0] += 1000.0
    place = np.array([ego[0], ego[1], 0.0, ego[3]])
    tracks[bus] = place + 14.0 * ahead + [0, 0, 0, np.pi / 2]
    tracks[car] = place + 30.0 * ahead
    still = day_scene.still + np.array([1000.0, 0, 0, 0])
    sensor = make_rig(SIZE).cameras[0]

    hidden = replace(day_scene, tracks=tracks, still=still)
    view = Renderer(hidden, SIZE, np.random.default_rng(0)).render(sensor, 0.0, np.random.default_rng(0))
    assert view.visible_px[bus] == view.alone_px[bus] > 3000
    assert view.alone_px[car] > 300 and view.visible_px[car] < 0.1 * view.alone_px[car]
    tracks[bus, :, 0] += 1000.0
    view = Renderer(hidden, SIZE, np.random.default_rng(0)).render(sensor, 0.0, np.random.default_rng(0))
    assert view.visible_px[car] == view.alone_px[car]
    depth = 1 / view.inverse_depth[view.face_thing[view.face] == car]
    rear = 30.0 - day_scene.actors[car].size[0] / 2 - sensor.ego_from_camera[0, 3]
    assert depth.min() == pytest.approx(rear, abs=0.35)


def test_masks_split_the_picture(day_scene: Scene, renderer: Renderer) -> None:
    sensor = make_rig(SIZE).cameras[0]
    instance, label = renderer.masks(sensor, 0.0)
    assert ((instance >= 0) == (label >= Label.THING)).all()
    assert {Label.SKY, Label.ROAD} <= set(np.unique(label)) and Label.VOID not in label
    # The sky is above the road, and the horizon lies near the principal point's row.
    rows = np.arange(SIZE[1])[:, None] * np.ones(SIZE, dtype=int).T
    assert rows[label == Label.SKY].max() < rows[label == Label.ROAD].max()
    assert rows[label == Label.ROAD].min() > 0.45 * SIZE[1]
    for index in np.unique(instance[instance >= 0]):
        assert len(np.unique(label[instance == index])) == 1


def test_pictures_are_the_same_for_the_same_seed_and_differ_in_time(renderer: Renderer) -> None:
    sensor = make_rig(SIZE).cameras[3]
    first, again = (renderer.render(sensor, 0.0, np.random.default_rng(5)).image for _ in range(2))
    np.testing.assert_array_equal(first, again)
    later = renderer.render(sensor, 1.0, np.random.default_rng(5)).image
    assert np.abs(later.astype(int) - first).mean() > 0.5


def test_night_is_darker_than_day(day_scene: Scene, renderer: Renderer) -> None:
    weather = replace(
        day_scene.weather, kind="night", sun_light=0.0, ambient=0.18, sky_top=(30, 20, 14), headlights=True
    )
    night = Renderer(replace(day_scene, weather=weather), SIZE, np.random.default_rng(0))
    sensor = make_rig(SIZE).cameras[4]
    by_day, by_night = (cv2.mean(r.render(sensor, 0.0, np.random.default_rng(0)).image)[:3] for r in (renderer, night))
    assert sum(by_night) < 0.85 * sum(by_day)
