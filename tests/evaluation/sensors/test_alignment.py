"""Edges and corrections on worlds whose answer is known."""

import numpy as np
import pytest

from perception.evaluation.sensors.alignment import EdgeSet, find_correction
from perception.evaluation.sensors.edges import REACH_PX, TOP_POINTS, depth_edges, edge_distance

INTRINSICS = np.array([[630.0, 0, 400], [0, 630, 225], [0, 0, 1]])
HEIGHT, WIDTH = 450, 800


def post_sweep() -> np.ndarray:
    """32 rings of a LiDAR 1.8 m over a road, a wall 30 m ahead (+x), a post 10 m ahead from -0.5 to 0.5 m, up to
    +0.4 m."""
    azimuth, rows = np.radians(np.arange(-30, 30, 0.33)), []
    for ring, elevation in enumerate(np.radians(np.linspace(-30.67, 10.67, 32))):
        for turn in azimuth:
            ray = np.array([np.cos(elevation) * np.cos(turn), np.cos(elevation) * np.sin(turn), np.sin(elevation)])
            distance = min(30 / ray[0], 1.8 / -ray[2] if ray[2] < 0 else np.inf)
            hit = ray * 10 / ray[0]
            if abs(hit[1]) < 0.5 and -1.8 < hit[2] < 0.4:
                distance = 10 / ray[0]
            rows.append([*(ray * distance), 10.0, ring])
    return np.array(rows, np.float32)


def test_depth_edges_are_the_outline_of_what_stands_before_something() -> None:
    edges = depth_edges(post_sweep())
    aside = np.abs(np.arctan2(edges.side[:, 1], edges.side[:, 0]))
    assert len(edges.side) >= 10
    # The true edge is at 0.5 m of 10; a ray is 0.33 degrees from the next, so half a step is the error at most.
    np.testing.assert_allclose(np.degrees(aside), np.degrees(np.arctan2(0.5, 10)), atol=0.17)
    assert len(edges.top) >= 10 * TOP_POINTS
    up = np.degrees(np.arctan2(edges.top[:, 2], np.hypot(edges.top[:, 0], edges.top[:, 1])))
    # Spread over what lies between two beams, 1.33 degrees apart, and the true top is in there.
    assert up.min() < np.degrees(np.arctan2(0.4, 10)) < up.max() < up.min() + 1.4
    assert len(depth_edges(np.zeros((0, 5), np.float32)).side) == 0


def test_edge_distance_of_a_bright_square() -> None:
    image = np.full((120, 160, 3), 60, np.uint8)
    image[40:80, 50:110] = 200
    upright, level = edge_distance(image).astype(float) / 4
    assert upright[60, 50] <= 1.5 and upright[60, 109] <= 1.5
    assert level[40, 80] <= 1.5 and level[79, 80] <= 1.5
    assert upright[60, 80] == pytest.approx(min(REACH_PX, 29.5), abs=2)


def world(turn_deg: tuple[float, float, float], move_m: tuple[float, float, float]) -> EdgeSet:
    """Objects between 6 and 25 m; images whose edges are exactly where the camera sees them, points as a LiDAR with a
    wrong calibration would place them: the sought correction is (turn, move)."""
    from perception.evaluation.sensors.alignment import turn_matrix

    rng = np.random.default_rng(0)
    maps, points, frames, kinds = [], [], [], []
    for frame in range(12):
        depth = rng.uniform(6, 25, 60)
        true = np.stack([rng.uniform(-0.5, 0.5, 60) * depth, rng.uniform(-0.25, 0.3, 60) * depth, depth], axis=1)
        pixel = true @ INTRINSICS.T
        pixel = pixel[:, :2] / pixel[:, 2:]
        kind = rng.integers(0, 2, 60)
        layers = []
        for layer in (0, 1):
            mine = pixel[kind == layer, layer]
            other = np.arange(WIDTH if layer == 0 else HEIGHT)
            gap = np.abs(other[:, None] - mine).min(axis=1)
            full = np.broadcast_to(gap if layer == 0 else gap[:, None], (HEIGHT, WIDTH))
            layers.append(np.minimum(full, REACH_PX) * 4)
        maps.append(np.stack(layers).astype(np.uint8))
        seen = (true - np.array(move_m)) @ turn_matrix(np.radians(turn_deg))  # the inverse of the correction
        points.append(seen)
        frames.append(np.full(60, frame))
        kinds.append(kind)
    return EdgeSet(
        np.stack(maps),
        np.stack([INTRINSICS] * 12),
        np.concatenate(points),
        np.concatenate(frames),
        np.concatenate(kinds),
    )


def test_nothing_to_correct() -> None:
    found = find_correction(world((0, 0, 0), (0, 0, 0)))
    assert np.abs(np.degrees(found.turn)).max() < 0.03
    assert np.abs(found.move).max() < 0.005


@pytest.mark.parametrize("turn", [(1.0, 0, 0), (0, -1.0, 0), (0.3, 0.5, 0.6)])
def test_turns_are_found(turn: tuple[float, float, float]) -> None:
    found = find_correction(world(turn, (0, 0, 0)))
    np.testing.assert_allclose(np.degrees(found.turn), turn, atol=0.06)
    assert found.score_turned > found.score_moved
    assert (np.abs(found.turn) > 4 * found.turn_spread)[np.abs(turn) > np.array(0.2)].all()


def test_five_centimetres_are_found_and_are_no_turn() -> None:
    found = find_correction(world((0, 0, 0), (0.05, 0, 0)))
    np.testing.assert_allclose(found.move, (0.05, 0, 0), atol=0.01)
    assert found.score_moved > found.score_turned
