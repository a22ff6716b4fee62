"""Every class's shapes: convex, closed, inside their boxes and filling them."""

import numpy as np
import pytest

from perception.datasets.synthetic.actors import CLASS_NAMES, make_actor
from perception.datasets.synthetic.geometry import compile_geometry, face_planes
from perception.datasets.synthetic.shapes import Shape


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_shape_fits_and_fills_its_box(class_name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        actor = make_actor(class_name, rng, rider=class_name in ("bicycle", "motorcycle") and rng.random() < 0.5)
        points = np.concatenate([solid.vertices for solid in actor.shape.solids])
        length, width, height = actor.size
        low, high = points.min(axis=0), points.max(axis=0)
        slack = 0.09
        assert (low >= [-length / 2 - slack, -width / 2 - slack, -slack]).all(), (low, actor.size)
        assert (high <= [length / 2 + slack, width / 2 + slack, height + slack]).all(), (high, actor.size)
        assert (high - low)[2] > 0.85 * height and (high - low)[0] > 0.45 * length


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_solids_are_convex_with_outward_faces(class_name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        for solid in make_actor(class_name, rng, rider=True).shape.solids:
            planes = face_planes(solid.vertices, solid.faces)
            outside = solid.vertices @ planes[:, :3].T - planes[:, 3]
            assert outside.max() < 1e-6, "no vertex lies beyond a face"
            assert (outside.min(axis=0) < -1e-3).all(), "a solid has thickness"


def test_polygons_face_outwards() -> None:
    shape = Shape()
    shape.block((-1, 1), (-2, 2), (0, 3), (0, 0, 0), inset=(0.2, 0.1, 0.3))
    shape.prism((0, 0, 5), 1.0, 2.0, "y", (0, 0, 0))
    shape.bar((0, 0, 8), (1, 2, 9), (0.2, 0.3), (0, 0, 0))
    polygons = compile_geometry([shape]).polygons
    middles = [np.array([0, 0, 1.5])] * 6 + [np.array([0, 0, 5.0])] * 10 + [np.array([0.5, 1.0, 8.5])] * 6
    for corners, normal, middle in zip(polygons.corners, polygons.normal, middles, strict=True):
        assert normal @ (corners[0] - middle) > 0


def test_a_decal_lies_on_its_face() -> None:
    shape = Shape()
    vertices = shape.block((-1, 1), (-1, 1), (0, 2), (0, 0, 0), inset=(0.3, 0.0, 0.2))
    for face in ("front", "back", "left", "right", "top"):
        shape.patch(vertices, face, (0.2, 0.4), (0.6, 0.9), (255, 255, 255))
    planes = face_planes(shape.solids[0].vertices, shape.solids[0].faces)
    for polygon, plane in zip(shape.polygons[6:], planes[:5], strict=True):
        np.testing.assert_allclose(polygon.corners @ plane[:3], plane[3], atol=1e-9)
    # On the front face u runs to the left of the car (+y), v upwards.
    front = shape.polygons[6].corners
    assert front[1, 1] > front[0, 1] and front[2, 2] > front[1, 2]
