"""The ray caster against a slow twin that meets triangles one ray at a time."""

import numpy as np
import pytest

from perception.datasets.synthetic.geometry import compile_geometry
from perception.datasets.synthetic.lidar import GROUND, MAX_RANGE_M, NOTHING, LidarScanner, cast, ray_directions
from perception.datasets.synthetic.rig import NUM_AZIMUTHS, NUM_BEAMS, global_from_pose, make_rig
from perception.datasets.synthetic.shapes import Shape
from perception.datasets.synthetic.world import Scene


def slow_range(direction: np.ndarray, triangles: np.ndarray) -> tuple[float, int]:
    """Least range at which a ray from the origin meets triangles [T,3,3], and which (Moeller and Trumbore, 1997)."""
    a, edge1, edge2 = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p, q = np.cross(direction, edge2), np.cross(-a, edge1)
    determinant = (edge1 * p).sum(axis=1)
    determinant = np.where(np.abs(determinant) < 1e-12, np.nan, determinant)
    u, v, t = -(a * p).sum(axis=1) / determinant, q @ direction / determinant, (edge2 * q).sum(axis=1) / determinant
    met = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    return float(met.min()), int(met.argmin())


def random_world(rng: np.random.Generator) -> tuple[list[Shape], np.ndarray]:
    shapes, poses = [], []
    for number in range(9):
        shape = Shape()
        size = rng.uniform(0.3, 4.0, 3)
        if number % 3 == 2:
            shape.prism((0, 0, size[2] / 2), size[0] / 2, size[2], "z", (0, 0, 0), top_radius=size[0] * 0.2)
        elif number % 3 == 1:
            shape.bar((-size[0], 0, 0.2), (size[0], 0.3, size[2]), (0.4, 0.6), (0, 0, 0))
        else:
            inset = tuple(rng.uniform(0, 0.2, 3) * size.min())
            shape.block((-size[0], size[0]), (-size[1], size[1]), (0.0, size[2]), (0, 0, 0), inset=inset)
        shapes.append(shape)
        angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(4.5, 25.0)
        poses.append([distance * np.cos(angle), distance * np.sin(angle), 0.0, rng.uniform(-np.pi, np.pi)])
    shapes[0].block((-40, 40), (-1, 1), (0, 3), (0, 0, 0))  # a long wall, and one that crosses the backward direction
    poses[0] = [0.0, 9.0, 0.0, 0.0]
    poses[3] = [-8.0, 0.1, 0.0, 0.3]
    return shapes, np.array(poses)


@pytest.mark.parametrize("seed", [0, 1])
def test_cast_agrees_with_triangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes, poses = random_world(rng)
    geometry = compile_geometry(shapes)
    ego_from_lidar = make_rig().ego_from_lidar  # tilted by half a degree, as on the real car
    lidar_from_global = np.linalg.inv(global_from_pose(np.array([0.3, -0.2, 0.0, 0.4])) @ ego_from_lidar)
    lidar_from_object = lidar_from_global @ global_from_pose(poses)
    hits = cast([geometry.hexahedra, geometry.prisms], lidar_from_object, lidar_from_global)

    triangles, owner = [], []
    for index, shape in enumerate(shapes):
        for solid in shape.solids:
            vertices = solid.vertices @ lidar_from_object[index][:3, :3].T + lidar_from_object[index][:3, 3]
            for face in solid.faces:
                for k in range(1, len(face) - 1):
                    triangles.append(vertices[[face[0], face[k], face[k + 1]]])
                    owner.append(index)
    corners = np.array([[x, y, 0.0] for x, y in ((-300, -300), (300, -300), (300, 300), (-300, 300))])
    corners = corners @ lidar_from_global[:3, :3].T + lidar_from_global[:3, 3]
    triangles += [corners[[0, 1, 2]], corners[[0, 2, 3]]]
    owner += [GROUND, GROUND]
    directions = ray_directions()
    stack = np.array(triangles)
    checked = differing = 0
    for ray in rng.choice(NUM_AZIMUTHS * NUM_BEAMS, 1500, replace=False):
        expected, which = slow_range(directions[ray], stack)
        if expected > MAX_RANGE_M:
            assert hits.thing[ray] == NOTHING and np.isinf(hits.range_m[ray])
        elif abs(expected - hits.range_m[ray]) > 1e-6 or owner[which] != hits.thing[ray]:
            differing += 1  # a ray along an edge may go either way
        checked += hits.thing[ray] >= 0
    assert checked > 150 and differing <= 1


def test_rays_turn_as_in_nuscenes() -> None:
    directions = ray_directions().reshape(NUM_AZIMUTHS, NUM_BEAMS, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    elevation = np.degrees(np.arcsin(directions[0, :, 2]))
    assert elevation[0] == pytest.approx(-30.67) and elevation[-1] == pytest.approx(10.67)
    azimuth = np.unwrap(np.arctan2(directions[:, 16, 1], directions[:, 16, 0]))
    assert (np.diff(azimuth) < 0).all() and azimuth[0] - azimuth[-1] == pytest.approx(2 * np.pi, abs=0.01)


def test_sweeps_of_a_standing_world_land_on_the_same_spots(day_scene: Scene) -> None:
    rig = make_rig()
    scanner = LidarScanner(day_scene, rig.ego_from_lidar)
    heights = []
    for time_s in (0.0, 1.0):
        points = scanner.scan(time_s, np.random.default_rng(0))
        transform = global_from_pose(day_scene.ego_pose(time_s)) @ rig.ego_from_lidar
        where = points[:, :3] @ transform[:3, :3].T + transform[:3, 3]
        assert len(points) > 15000
        heights.append(np.percentile(where[:, 2], 20))
        assert where[:, 2].min() > -0.6, "nothing under the ground but noise"
    np.testing.assert_allclose(heights, 0.0, atol=0.03)


def test_rain_loses_returns(day_scene: Scene) -> None:
    from dataclasses import replace

    rig = make_rig()
    wet = replace(day_scene, weather=replace(day_scene.weather, rain=1.0))
    dry, rainy = (LidarScanner(s, rig.ego_from_lidar).scan(0.0, np.random.default_rng(0)) for s in (day_scene, wet))
    assert len(rainy) < 0.93 * len(dry)
