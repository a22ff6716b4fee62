"""Parts that vehicles share: paint, wheels, lamps, bumpers."""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.shapes import Colour, Finish, Material, Polygon, Shape, bgr

GLASS: Colour = (70, 62, 52)
TYRE: Colour = (32, 30, 30)
RIM: Colour = (150, 150, 150)
BLACK: Colour = (28, 28, 28)
HEADLIGHT: Colour = (225, 235, 240)
TAILLIGHT: Colour = (30, 25, 190)
PLATE: Colour = (220, 225, 225)
CAR_COLOURS: tuple[Colour, ...] = (
    (235, 235, 235),
    (205, 205, 205),
    (150, 150, 152),
    (95, 95, 98),
    (38, 36, 36),
    (40, 35, 150),
    (120, 60, 30),
    (150, 110, 70),
    (60, 90, 60),
    (90, 120, 150),
    (30, 60, 200),
)
TRUCK_COLOURS: tuple[Colour, ...] = ((235, 235, 235), (200, 120, 40), (60, 50, 180), (70, 130, 60), (215, 215, 200))
BUS_COLOURS: tuple[Colour, ...] = ((50, 50, 200), (60, 150, 60), (190, 120, 40), (240, 240, 240), (60, 170, 220))
TRAILER_COLOURS: tuple[Colour, ...] = ((225, 225, 225), (130, 90, 50), (70, 70, 160), (120, 120, 120), (90, 120, 60))
SAFETY_YELLOW: Colour = (30, 175, 235)


def paint_of(rng: np.random.Generator, colours: tuple[Colour, ...]) -> tuple[Colour, Material]:
    """A colour near one of a list, and its LiDAR material: dark paint returns little."""
    base = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.08)
    colour = bgr(base)
    return colour, Material.DARK if max(colour) < 60 else Material.PAINT


def add_wheels(shape: Shape, xs: list[float], width: float, radius: float, tread: float, rim: Colour = RIM) -> None:
    """Pairs of wheels at several x, their outer faces the width apart."""
    for x in xs:
        for side in (-1, 1):
            centre = (x, side * (width / 2 - tread / 2), radius)
            shape.prism(centre, radius, tread, "y", TYRE, material=Material.DARK)
            angle = (np.arange(8) + 0.5) * np.pi / 4
            hub = np.stack([np.cos(angle) * radius * 0.6, np.zeros(8), np.sin(angle) * radius * 0.6], axis=1)
            if side > 0:
                hub = hub[::-1]
            shape.polygons.append(
                Polygon(hub + np.array([x, side * width / 2, radius]), rim, layer=1, label=shape.label)
            )


def add_front(shape: Shape, body: np.ndarray, low: float, high: float, width: float = 0.2) -> None:
    """Headlights, grille, plate and bumper on a body's front face; low, high in the face's v."""
    for u in ((0.03, 0.03 + width), (0.97 - width, 0.97)):
        shape.patch(body, "front", u, (low, high), HEADLIGHT, finish=Finish.HEADLIGHT)
    shape.patch(body, "front", (0.28, 0.72), (low, high), BLACK)
    shape.patch(body, "front", (0.0, 1.0), (0.0, 0.22), (48, 46, 46))
    shape.patch(body, "front", (0.39, 0.61), (0.14, 0.3), PLATE, layer=2)


def add_rear(shape: Shape, body: np.ndarray, low: float, high: float, width: float = 0.16) -> None:
    """Tail lamps, plate and bumper on a body's back face; low, high in the face's v."""
    for u in ((0.02, 0.02 + width), (0.98 - width, 0.98)):
        shape.patch(body, "back", u, (low, high), TAILLIGHT, finish=Finish.TAILLIGHT)
    shape.patch(body, "back", (0.0, 1.0), (0.0, 0.2), (48, 46, 46))
    shape.patch(body, "back", (0.38, 0.62), (0.3, 0.46), PLATE, layer=2)


def add_bumper(shape: Shape, length: float, width: float) -> None:
    """The bar under a truck's or trailer's rear, with its lamps and plate."""
    bar = shape.block(
        (-length / 2, -length / 2 + 0.12),
        (-width * 0.46, width * 0.46),
        (0.5, 0.72),
        (50, 50, 50),
        material=Material.METAL,
    )
    for u in ((0.02, 0.16), (0.84, 0.98)):
        shape.patch(bar, "back", u, (0.1, 0.9), TAILLIGHT, finish=Finish.TAILLIGHT)
    shape.patch(bar, "back", (0.42, 0.58), (0.15, 0.85), PLATE)
