"""Construction vehicles. Every shape fills its box: length x width x height (m)."""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.shapes import Colour, Finish, Label, Material, Shape, shaded
from perception.datasets.synthetic.vehicle_parts import BLACK, GLASS, SAFETY_YELLOW, add_wheels


def construction_vehicle(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """An excavator on tracks or a wheel loader."""
    paint = shaded(SAFETY_YELLOW, rng.uniform(0.85, 1.05))
    shape = Shape(label=Label.THING)
    if rng.random() < 0.55:
        _excavator(rng, shape, length, width, height, paint)
    else:
        _loader(shape, length, width, height, paint)
    return shape


def _glazed(
    shape: Shape, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], paint: Colour
) -> None:
    cabin = shape.block(x, y, z, paint, inset=(0.15, 0.05, 0.06), material=Material.GLASS)
    for face in ("front", "back", "left", "right"):
        shape.patch(cabin, face, (0.1, 0.9), (0.3, 0.9), GLASS, finish=Finish.GLASS)


def _excavator(
    rng: np.random.Generator, shape: Shape, length: float, width: float, height: float, paint: Colour
) -> None:
    back = -length / 2
    chassis = min(0.62 * length, 4.0)
    for side in (-1, 1):
        y = sorted((side * width / 2, side * (width / 2 - 0.55)))
        track = shape.block(
            (back, back + chassis),
            (y[0], y[1]),
            (0.0, 0.8),
            (45, 45, 45),
            inset=(0.3, 0.3, 0.0),
            material=Material.DARK,
        )
        for face in ("left", "right"):
            for k in range(5):
                shape.patch(track, face, (0.1 + 0.17 * k, 0.2 + 0.17 * k), (0.2, 0.6), (80, 85, 90))
    deck = 0.42 * height
    house = shape.block(
        (back + 0.1, back + chassis - 0.3),
        (-width * 0.46, width * 0.46),
        (0.95, deck + 0.55),
        paint,
        inset=(0.1, 0.1, 0.05),
    )
    for face in ("left", "right"):
        shape.patch(house, face, (0.0, 1.0), (0.0, 0.22), BLACK)
    shape.patch(house, "back", (0.1, 0.9), (0.35, 0.75), BLACK)
    front = back + chassis
    _glazed(shape, (front - 1.7, front - 0.2), (0.0, width * 0.46), (1.0, max(0.86 * height, deck + 1.0)), paint)
    elbow = (front + 0.25 * (length / 2 - front), -0.25, height - 0.22)
    tip = (length / 2 - 0.45, -0.25, float(rng.uniform(0.42, 0.55)) * height)
    shape.bar((front - 0.8, -0.25, 1.3), elbow, (0.4, 0.42), paint)
    shape.bar(elbow, tip, (0.32, 0.34), paint)
    shape.bar((front - 0.4, -0.25, 1.9), (elbow[0] - 0.1, -0.25, elbow[2] - 0.45), (0.14, 0.14), (190, 190, 190))
    shape.block(
        (length / 2 - 0.95, length / 2),
        (-0.8, 0.3),
        (tip[2] - 0.95, tip[2]),
        (55, 55, 60),
        inset=(0.3, 0.1, 0.0),
        material=Material.METAL,
    )


def _loader(shape: Shape, length: float, width: float, height: float, paint: Colour) -> None:
    radius = 0.22 * height
    rear = shape.block(
        (-length / 2, 0.05 * length),
        (-width * 0.36, width * 0.36),
        (radius * 0.8, 0.58 * height),
        paint,
        inset=(0.1, 0.2, 0.08),
    )
    for face in ("left", "right"):
        shape.patch(rear, face, (0.12, 0.45) if face == "right" else (0.55, 0.88), (0.35, 0.8), BLACK)
    shape.patch(rear, "back", (0.2, 0.8), (0.3, 0.8), BLACK)
    _glazed(shape, (-0.12 * length, 0.1 * length), (-width * 0.3, width * 0.3), (0.5 * height, height), paint)
    shape.block((0.05 * length, 0.26 * length), (-width * 0.25, width * 0.25), (radius * 0.8, 0.42 * height), paint)
    for y in (-width * 0.2, width * 0.2):
        shape.bar((0.16 * length, y, 0.45 * height), (0.4 * length, y, 0.2 * height), (0.2, 0.3), paint)
    shape.block(
        (0.36 * length, length / 2),
        (-width / 2, width / 2),
        (0.05, 0.36 * height),
        (60, 60, 65),
        inset=(0.45, 0.0, 0.0),
        material=Material.METAL,
    )
    add_wheels(shape, [-0.27 * length, 0.18 * length], width * 0.96, radius, 0.5, paint)
