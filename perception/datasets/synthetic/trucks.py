"""Trucks, tractors and trailers. Every shape fills its box: length x width x height (m)."""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.shapes import Colour, Finish, Label, Material, Shape, shaded
from perception.datasets.synthetic.vehicle_parts import (
    BLACK,
    BUS_COLOURS,
    CAR_COLOURS,
    GLASS,
    HEADLIGHT,
    TRAILER_COLOURS,
    TRUCK_COLOURS,
    add_bumper,
    add_front,
    add_rear,
    add_wheels,
    paint_of,
)


def truck(rng: np.random.Generator, length: float, width: float, height: float, *, tractor: bool = False) -> Shape:
    """A pickup (height below 2.1), a box, flatbed or tipper truck, or the tractor of a trailer."""
    if tractor:
        return _tractor(rng, length, width, height)
    return _pickup(rng, length, width, height) if height < 2.1 else _lorry(rng, length, width, height)


def _pickup(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    shape = Shape(label=Label.THING)
    paint, material = paint_of(rng, CAR_COLOURS)
    belt = 0.62 * height
    body = shape.block(
        (-length / 2, length / 2),
        (-width / 2, width / 2),
        (0.25 * height, belt),
        paint,
        inset=(0.08, 0.02, 0.03),
        material=material,
    )
    cabin = shape.block(
        (-0.12 * length, 0.24 * length),
        (-width / 2 + 0.06, width / 2 - 0.06),
        (belt, height),
        paint,
        inset=(0.5, 0.1, 0.12),
        material=Material.GLASS,
    )
    shape.patch(body, "top", (0.03, 0.37), (0.06, 0.94), (45, 45, 45))  # the open bed
    shape.patch(cabin, "front", (0.05, 0.95), (0.06, 0.92), GLASS, finish=Finish.GLASS)
    shape.patch(cabin, "back", (0.1, 0.9), (0.2, 0.85), GLASS, finish=Finish.GLASS)
    for side in ("left", "right"):
        for a, b in ((0.05, 0.48), (0.52, 0.94)):
            shape.patch(cabin, side, (a, b), (0.08, 0.86), GLASS, finish=Finish.GLASS)
        shape.patch(body, side, (0.0, 1.0), (0.0, 0.15), shaded(paint, 0.4))
    add_front(shape, body, 0.5, 0.8)
    add_rear(shape, body, 0.45, 0.85, 0.09)
    add_wheels(shape, [-0.31 * length, 0.31 * length], width, 0.21 * height, 0.25)
    return shape


def _cab(
    shape: Shape, x: tuple[float, float], width: float, z: tuple[float, float], paint: Colour, material: Material
) -> None:
    cab = shape.block(x, (-width / 2, width / 2), z, paint, inset=(0.18, 0.0, 0.05), material=material)
    shape.patch(cab, "front", (0.06, 0.94), (0.5, 0.88), GLASS, finish=Finish.GLASS)
    shape.patch(cab, "front", (0.2, 0.8), (0.2, 0.42), BLACK)
    shape.patch(cab, "front", (0.0, 1.0), (0.0, 0.12), (60, 58, 58))
    for u in ((0.04, 0.18), (0.82, 0.96)):
        shape.patch(cab, "front", u, (0.13, 0.24), HEADLIGHT, finish=Finish.HEADLIGHT)
    for side in ("left", "right"):
        window = (0.32, 0.9) if side == "right" else (0.1, 0.68)
        shape.patch(cab, side, window, (0.5, 0.86), GLASS, finish=Finish.GLASS)
        edge = 0.27 if side == "right" else 0.73
        shape.patch(cab, side, (edge - 0.01, edge + 0.01), (0.05, 0.95), shaded(paint, 0.55))
    for side_y in (-width / 2 + 0.08, width / 2 - 0.08):
        middle = z[0] + 0.65 * (z[1] - z[0])
        shape.block(
            (x[1] - 0.12, x[1] - 0.02), (side_y - 0.08, side_y + 0.08), (middle, middle + 0.4), BLACK, lidar=False
        )


def _lorry(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    shape = Shape(label=Label.THING)
    paint, material = paint_of(rng, TRUCK_COLOURS)
    cab_length = float(np.clip(0.27 * length, 1.5, 2.1))
    cab_height = min(height, float(rng.uniform(2.3, 2.8)))
    floor = 0.95 if height > 2.6 else 0.75
    front = length / 2 - cab_length - 0.12
    _cab(shape, (length / 2 - cab_length, length / 2), width * 0.96, (0.45, cab_height), paint, material)
    shape.block(
        (-length / 2, length / 2 - cab_length),
        (-width * 0.35, width * 0.35),
        (0.5, floor),
        (45, 45, 48),
        material=Material.METAL,
    )
    style = rng.choice(["box", "tipper", "flatbed"], p=[0.62, 0.2, 0.18])
    if style == "box":
        cargo_colour = paint if rng.random() < 0.35 else paint_of(rng, TRUCK_COLOURS)[0]
        cargo = shape.block((-length / 2, front), (-width / 2, width / 2), (floor, height), cargo_colour)
        stripe = paint_of(rng, BUS_COLOURS)[0]
        for side in ("left", "right"):
            style_of_art = rng.integers(3)
            if style_of_art == 0:
                shape.patch(cargo, side, (0.12, 0.75), (0.35, 0.75), stripe)
                for k in range(5):
                    shape.patch(cargo, side, (0.17 + 0.11 * k, 0.25 + 0.11 * k), (0.45, 0.66), cargo_colour, layer=2)
            elif style_of_art == 1:
                shape.decal(cargo, side, [(0, 0.1), (0.6, 0.1), (0.35, 0.9), (0, 0.9)], stripe)
            else:
                shape.patch(cargo, side, (0.0, 1.0), (0.08, 0.22), stripe)
        shape.patch(cargo, "back", (0.06, 0.49), (0.06, 0.94), shaded(cargo_colour, 0.88))
        shape.patch(cargo, "back", (0.51, 0.94), (0.06, 0.94), shaded(cargo_colour, 0.88))
        shape.patch(cargo, "back", (0.0, 1.0), (0.0, 0.04), (40, 60, 200))
    elif style == "tipper":
        tub_colour = paint_of(rng, ((60, 120, 190), (110, 110, 110), (60, 60, 160)))[0]
        tub = shape.block(
            (-length / 2, front), (-width / 2, width / 2), (floor, max(0.72 * height, floor + 0.6)), tub_colour
        )
        for side in ("left", "right"):
            for k in range(6):
                shape.patch(tub, side, (0.08 + 0.16 * k, 0.1 + 0.16 * k), (0.0, 1.0), shaded(tub_colour, 0.6))
        shape.patch(tub, "top", (0.03, 0.97), (0.05, 0.95), (60, 75, 95))
        shape.block((front - 0.35, front), (-width / 2, width / 2), (0.72 * height, height), shaded(tub_colour, 0.9))
    else:
        deck = shape.block(
            (-length / 2, front), (-width / 2, width / 2), (floor, floor + 0.45), paint_of(rng, TRUCK_COLOURS)[0]
        )
        for side in ("left", "right"):
            shape.patch(deck, side, (0.48, 0.52), (0.0, 1.0), BLACK)
        shape.block(
            (front - 0.1, front), (-width / 2, width / 2), (floor + 0.45, height), (90, 90, 95), material=Material.METAL
        )
        for _ in range(rng.integers(1, 4)):
            size = rng.uniform([0.8, 0.5, 0.4], [1.6, 1.0, 1.2])
            x = rng.uniform(-length / 2 + size[0] / 2, front - 0.2 - size[0] / 2)
            load = paint_of(rng, ((70, 110, 150), (60, 90, 130), (160, 160, 160)))[0]
            top = min(height, floor + 0.45 + size[2])
            shape.block((x - size[0] / 2, x + size[0] / 2), (-size[1] / 2, size[1] / 2), (floor + 0.45, top), load)
    add_bumper(shape, length, width)
    axles = (
        [length / 2 - 0.65 * cab_length, -0.3 * length]
        if length < 8
        else [length / 2 - 0.65 * cab_length, -0.25 * length, -0.25 * length - 1.25]
    )
    add_wheels(shape, axles, width, 0.48, 0.32)
    return shape


def _tractor(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    shape = Shape(label=Label.THING)
    paint, material = paint_of(rng, TRUCK_COLOURS)
    _cab(shape, (length / 2 - 2.2, length / 2), width, (0.45, height), paint, material)
    shape.block(
        (-length / 2, length / 2 - 2.2),
        (-width * 0.35, width * 0.35),
        (0.55, 1.0),
        (45, 45, 48),
        material=Material.METAL,
    )
    shape.prism((length / 2 - 2.4, width * 0.3, 1.9), 0.09, 1.8, "z", (170, 170, 170), material=Material.METAL)
    add_bumper(shape, length, width)
    add_wheels(shape, [length / 2 - 1.3, -0.22 * length, -0.22 * length - 1.2], width, 0.5, 0.34)
    return shape


def trailer(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """A semi-trailer: a ribbed container or a curtain-sided box over a bogie."""
    shape = Shape(label=Label.THING)
    paint, _ = paint_of(rng, TRAILER_COLOURS)
    box = shape.block((-length / 2, length / 2), (-width / 2, width / 2), (1.15, height), paint)
    container = rng.random() < 0.55
    for side in ("left", "right"):
        ribs = round(length / 0.9) if container else 6
        for k in range(ribs):
            a = (k + 0.5) / ribs
            shape.patch(box, side, (a - 0.1 / length, a + 0.1 / length), (0.03, 0.97), shaded(paint, 0.72))
        if not container:
            shape.patch(box, side, (0.25, 0.75), (0.3, 0.7), paint_of(rng, TRUCK_COLOURS)[0], layer=2)
        shape.patch(box, side, (0.0, 1.0), (0.0, 0.05), (40, 90, 210), layer=3)
    for u in ((0.05, 0.48), (0.52, 0.95)):
        shape.patch(box, "back", u, (0.04, 0.96), shaded(paint, 0.85))
        for share in (0.35, 0.65):
            bar = u[0] + share * (u[1] - u[0])
            shape.patch(box, "back", (bar - 0.012, bar + 0.012), (0.05, 0.95), (170, 170, 170), layer=2)
    shape.patch(box, "back", (0.0, 1.0), (0.0, 0.05), (40, 40, 210), layer=3)
    shape.block(
        (-length / 2 + 0.3, length / 2 - 0.3),
        (-width * 0.2, width * 0.2),
        (0.85, 1.15),
        (45, 45, 48),
        material=Material.METAL,
    )
    for y in (-0.55, 0.55):
        leg = 0.22 * length
        shape.block((leg, leg + 0.15), (y - 0.08, y + 0.08), (0.05, 1.15), (70, 70, 75), material=Material.METAL)
    add_bumper(shape, length, width)
    add_wheels(
        shape,
        [-length / 2 + 1.2, -length / 2 + 2.45] + ([-length / 2 + 3.7] if length > 10 else []),
        width,
        0.5,
        0.34,
        (110, 110, 110),
    )
    return shape
