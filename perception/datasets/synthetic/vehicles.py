"""Cars and buses. Every shape fills its box: length x width x height (m)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from perception.datasets.synthetic.shapes import Finish, Label, Material, Shape, shaded
from perception.datasets.synthetic.vehicle_parts import (
    BUS_COLOURS,
    CAR_COLOURS,
    GLASS,
    HEADLIGHT,
    TAILLIGHT,
    add_front,
    add_rear,
    add_wheels,
    paint_of,
)


def car(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """A sedan, hatchback, estate, SUV or van."""
    shape = Shape(label=Label.THING)
    paint, material = paint_of(rng, CAR_COLOURS)
    style = rng.choice(["sedan", "hatch", "suv", "van"], p=[0.4, 0.2, 0.28, 0.12])
    radius = float(np.clip(0.2 * height, 0.3, 0.4))
    belt = {"sedan": 0.62, "hatch": 0.6, "suv": 0.6, "van": 0.55}[style] * height
    half = width / 2 - 0.05  # the wheels stand out a little
    body = shape.block(
        (-length / 2, length / 2),
        (-half, half),
        (0.17 * height, belt),
        paint,
        inset=(0.10, 0.05, 0.05),
        material=material,
    )
    hood = {"sedan": 0.28, "hatch": 0.24, "suv": 0.26, "van": 0.12}[style] * length
    boot = {"sedan": 0.16, "hatch": 0.02, "suv": 0.02, "van": 0.01}[style] * length
    rake = {"sedan": 0.55, "hatch": 0.55, "suv": 0.42, "van": 0.45}[style]
    back_rake = {"sedan": 0.45, "hatch": 0.35, "suv": 0.18, "van": 0.08}[style]
    cabin = shape.block(
        (-length / 2 + boot + 0.06, length / 2 - hood),
        (-half + 0.05, half - 0.05),
        (belt, height),
        paint,
        inset=(rake, back_rake, 0.13),
        material=Material.GLASS,
    )
    shape.patch(cabin, "front", (0.05, 0.95), (0.06, 0.9), GLASS, finish=Finish.GLASS)
    shape.patch(cabin, "back", (0.08, 0.92), (0.15, 0.85), GLASS, finish=Finish.GLASS)
    for side in ("left", "right"):
        splits = [0.04, 0.5, 0.96] if style in ("sedan", "hatch") else [0.04, 0.38, 0.66, 0.97]
        for a, b in pairwise(splits):
            shape.patch(cabin, side, (a + 0.015, b - 0.015), (0.08, 0.86), GLASS, finish=Finish.GLASS)
        shape.patch(body, side, (0.0, 1.0), (0.0, 0.16), shaded(paint, 0.45))
        for u in (0.36, 0.62):
            shape.patch(body, side, (u - 0.003, u + 0.003), (0.18, 0.98), shaded(paint, 0.55))
        for u in (0.42, 0.68):
            shape.patch(body, side, (u, u + 0.035), (0.78, 0.84), shaded(paint, 0.6))
        for x in (-0.3 * length, 0.31 * length):
            u = 0.5 + x / length if side == "right" else 0.5 - x / length
            arch = radius * 1.2 / length
            top = min(0.92, (2.15 * radius - 0.17 * height) / (belt - 0.17 * height))
            outline = [
                (u - arch, 0),
                (u + arch, 0),
                (u + arch, 0.5 * top),
                (u + 0.6 * arch, top),
                (u - 0.6 * arch, top),
            ]
            shape.decal(body, side, [*outline, (u - arch, 0.5 * top)], (24, 23, 23), layer=2)
    add_front(shape, body, 0.5, 0.78)
    add_rear(shape, body, 0.58, 0.86)
    if style == "sedan" and rng.random() < 0.12:
        shape.block(
            (-0.1, 0.15), (-0.35, 0.35), (height - 0.02, height), (40, 200, 230), lidar=False
        )  # a taxi's roof light
    add_wheels(shape, [-0.3 * length, 0.31 * length], width, radius, 0.22)
    return shape


def bus(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """A city bus: doors, a band of windows, a lit destination sign."""
    shape = Shape(label=Label.THING)
    paint, material = paint_of(rng, BUS_COLOURS)
    lower = paint_of(rng, BUS_COLOURS)[0] if rng.random() < 0.5 else paint
    body = shape.block(
        (-length / 2, length / 2),
        (-width / 2, width / 2),
        (0.32, height - 0.18),
        paint,
        inset=(0.08, 0.03, 0.03),
        material=material,
    )
    roof_gear = (0.2, 0.1, 0.15)
    shape.block(
        (-length * 0.42, length * 0.3),
        (-width * 0.36, width * 0.36),
        (height - 0.18, height),
        shaded(paint, 0.9),
        inset=roof_gear,
    )
    shape.patch(body, "front", (0.05, 0.95), (0.32, 0.8), GLASS, finish=Finish.GLASS)
    shape.patch(body, "front", (0.15, 0.85), (0.84, 0.96), (20, 20, 20))
    shape.patch(body, "front", (0.22, 0.6), (0.87, 0.93), (40, 170, 250), finish=Finish.LAMP, layer=2)
    shape.patch(body, "front", (0.0, 1.0), (0.0, 0.1), (50, 50, 50))
    for u in ((0.04, 0.17), (0.83, 0.96)):
        shape.patch(body, "front", u, (0.12, 0.21), HEADLIGHT, finish=Finish.HEADLIGHT)
        shape.patch(body, "back", u, (0.16, 0.4), TAILLIGHT, finish=Finish.TAILLIGHT)
    shape.patch(body, "back", (0.12, 0.88), (0.55, 0.85), GLASS, finish=Finish.GLASS)
    shape.patch(body, "back", (0.2, 0.8), (0.12, 0.42), shaded(lower, 0.5))
    windows = max(4, round(length / 1.5))
    for side in ("left", "right"):
        shape.patch(body, side, (0.0, 1.0), (0.0, 0.28), shaded(lower, 0.85))
        shape.patch(body, side, (0.02, 0.98), (0.45, 0.86), (30, 28, 28))
        for k in range(windows):
            a = 0.03 + 0.94 * k / windows
            pane = (a + 0.006, a + 0.94 / windows - 0.006)
            shape.patch(body, side, pane, (0.48, 0.83), GLASS, finish=Finish.GLASS, layer=2)
    for a in (0.86, 0.42):  # doors, on the kerb side only
        shape.patch(body, "right", (a, a + 0.9 / length), (0.03, 0.84), (25, 25, 25), layer=3)
        for k in range(2):
            pane = (a + 0.05 / length + 0.42 * k / length, a + 0.4 / length + 0.42 * k / length)
            shape.patch(body, "right", pane, (0.08, 0.8), GLASS, finish=Finish.GLASS, layer=4)
    add_wheels(shape, [0.29 * length, -0.27 * length], width, 0.48, 0.3)
    return shape
