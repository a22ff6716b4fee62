"""What is not to be detected: buildings, trees, poles, walls, and decoys that look like objects to a LiDAR."""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.shapes import Colour, Finish, Label, Material, Shape, Sprite, bgr, shaded

CONCRETE: tuple[Colour, ...] = ((150, 155, 160), (120, 125, 130), (170, 172, 172))
NUM_FACADES = 6
NUM_FOLIAGE = 6


def building(rng: np.random.Generator, length: float, depth: float, height: float) -> Shape:
    """A block with windows on all sides (a facade texture), perhaps with a lower front part."""
    shape = Shape(label=Label.BUILDING)
    texture = int(rng.integers(NUM_FACADES))
    first = len(shape.polygons)
    roof = (110.0, 112.0, 115.0)
    shape.block(
        (-length / 2, length / 2),
        (-depth / 2, depth / 2),
        (0.0, height),
        (160, 160, 160),
        material=Material.CONCRETE,
        faces={"top": roof},
    )
    for polygon in shape.polygons[first : first + 4]:
        polygon.texture = texture
    return shape


def tree(rng: np.random.Generator, height: float) -> Shape:
    """A trunk under a crown of leaves; the crown lets part of the LiDAR through."""
    shape = Shape(label=Label.VEGETATION)
    trunk = height * float(rng.uniform(0.38, 0.5))
    radius = 0.04 * height**0.8
    bark = (45.0, 65.0, 85.0)
    shape.prism((0, 0, trunk / 2), radius, trunk, "z", bark, top_radius=0.75 * radius, material=Material.CONCRETE)
    crown = height - trunk * 0.8
    green = np.array(((45, 95, 60), (40, 80, 70), (55, 110, 85))[rng.integers(3)]) * rng.uniform(0.8, 1.15)
    for k in range(5):
        offset = np.clip(rng.normal(0, 0.16, 3), -0.25, 0.25) * crown * (k > 0)
        centre = offset + np.array([0, 0, height - 0.5 * crown])
        size = crown * rng.uniform(0.75, 1.05)
        _leaves(shape, centre, float(size), float(size * 0.85), bgr(green * rng.uniform(0.88, 1.12)), rng)
    return shape


def bush(rng: np.random.Generator, length: float, depth: float, height: float) -> Shape:
    """A hedge: a porous block with leaves in front."""
    shape = Shape(label=Label.VEGETATION)
    green = np.array((45, 90, 60)) * rng.uniform(0.75, 1.1)
    shape.block(
        (-length / 2, length / 2),
        (-depth / 2, depth / 2),
        (0.0, height),
        bgr(green * 0.8),
        inset=(0.1, 0.1, 0.15),
        material=Material.FOLIAGE,
    )
    for x in np.arange(-length / 2 + 0.4, length / 2 - 0.2, 0.7):
        centre = np.array([x, 0.0, height * 0.6])
        _leaves(shape, centre, 1.1, height * 0.95, bgr(green * rng.uniform(0.85, 1.2)), rng, solid=False)
    return shape


def _leaves(
    shape: Shape,
    centre: np.ndarray,
    width: float,
    height: float,
    colour: Colour,
    rng: np.random.Generator,
    *,
    solid: bool = True,
) -> None:
    shape.sprites.append(Sprite(centre, width, height, colour, int(rng.integers(NUM_FOLIAGE))))
    if solid:
        x, y, z = centre
        for sign in (-1, 1):  # two frusta base to base, about the round of the picture
            middle = z + sign * height * 0.21
            low, high = (0.28, 0.46) if sign < 0 else (0.46, 0.28)
            shape.prism(
                (x, y, middle),
                low * width,
                height * 0.42,
                "z",
                colour,
                top_radius=high * width,
                material=Material.FOLIAGE,
                visible=False,
            )


def lamp_post(rng: np.random.Generator) -> Shape:
    """A street lamp whose arm reaches along +x."""
    shape = Shape()
    height = float(rng.uniform(6.5, 8.0))
    grey = (120.0, 122.0, 124.0)
    shape.prism((0, 0, height / 2), 0.09, height, "z", grey, top_radius=0.06, material=Material.METAL)
    shape.bar((0, 0, height - 0.05), (1.6, 0, height + 0.15), (0.08, 0.08), grey, material=Material.METAL)
    head = shape.block((1.3, 2.0), (-0.13, 0.13), (height + 0.1, height + 0.22), grey, material=Material.METAL)
    shape.patch(head, "bottom", (0.1, 0.9), (0.1, 0.9), (200, 235, 255), finish=Finish.LAMP)
    return shape


def traffic_light(red: bool) -> Shape:
    """A signal on a post, its lenses facing -x."""
    shape = Shape()
    shape.prism((0, 0, 1.7), 0.07, 3.4, "z", (70, 75, 75), material=Material.METAL)
    head = shape.block((-0.16, 0.16), (-0.18, 0.18), (2.6, 3.6), (30, 30, 30), material=Material.METAL)
    for k, colour in enumerate(((70, 220, 60), (40, 190, 240), (40, 40, 240))):
        lit = (k == 2) if red else (k == 0)
        v = 0.06 + 0.32 * k
        dim: Colour = shaded(colour, 0.25)
        shape.patch(
            head, "back", (0.2, 0.8), (v, v + 0.24), colour if lit else dim, finish=Finish.LAMP if lit else Finish.MATTE
        )
    return shape


def sign(rng: np.random.Generator) -> Shape:
    """A road sign on a post: about a person's height and width."""
    shape = Shape()
    height = float(rng.uniform(1.7, 2.6))
    shape.prism((0, 0, height / 2), 0.04, height, "z", (140, 140, 140), material=Material.METAL)
    colour: Colour = ((200, 90, 30), (40, 40, 200), (60, 140, 50), (230, 230, 230))[rng.integers(4)]
    board = shape.block((-0.03, 0.03), (-0.32, 0.32), (height - 0.65, height), colour, material=Material.RETRO)
    for face in ("front", "back"):
        shape.patch(board, face, (0.15, 0.85), (0.3, 0.7), (235, 235, 235))
    return shape


def bollard(rng: np.random.Generator) -> Shape:
    """A grey post as tall and wide as a traffic cone."""
    shape = Shape()
    height, radius = float(rng.uniform(0.7, 1.15)), float(rng.uniform(0.1, 0.18))
    grey = float(rng.uniform(60, 150))
    shape.prism(
        (0, 0, height / 2),
        radius,
        height,
        "z",
        (grey, grey, grey),
        top_radius=radius * rng.uniform(0.5, 0.95),
        material=Material.PLASTIC,
    )
    shape.block(
        (-radius * 1.2, radius * 1.2),
        (-radius * 1.2, radius * 1.2),
        (0, 0.06),
        (grey * 0.8,) * 3,
        material=Material.PLASTIC,
    )
    return shape


def low_wall(rng: np.random.Generator) -> Shape:
    """A piece of wall or a planter as big as a barrier, across the x axis."""
    shape = Shape()
    width, thick, height = rng.uniform(2.0, 3.0), rng.uniform(0.3, 0.55), rng.uniform(0.8, 1.1)
    colour = CONCRETE[rng.integers(3)] if rng.random() < 0.7 else (70.0, 80.0, 120.0)
    wall = shape.block(
        (-thick / 2, thick / 2),
        (-width / 2, width / 2),
        (0.0, float(height)),
        colour,
        inset=(0.05, 0.05, 0.0),
        material=Material.CONCRETE,
    )
    for face in ("front", "back"):
        shape.patch(wall, face, (0.0, 1.0), (0.88, 1.0), shaded(colour, 0.8))
    return shape


def kiosk(rng: np.random.Generator) -> Shape:
    """A cabinet, locker or bin, somewhere between a person and a box."""
    shape = Shape()
    length, width, height = rng.uniform(0.4, 0.7), rng.uniform(0.4, 0.9), rng.uniform(1.3, 1.9)
    colour: Colour = ((110, 115, 118), (60, 90, 60), (140, 70, 40), (70, 70, 75))[rng.integers(4)]
    body = shape.block(
        (-length / 2, length / 2), (-width / 2, width / 2), (0.0, height), colour, material=Material.PLASTIC
    )
    for face in ("front", "back"):
        shape.patch(body, face, (0.1, 0.9), (0.1, 0.6), shaded(colour, 0.75))
    return shape


def container(rng: np.random.Generator) -> Shape:
    """A site container or skip on the ground: a trailer without wheels, to a LiDAR."""
    shape = Shape()
    length, height = rng.uniform(5.5, 11.0), rng.uniform(2.5, 3.6)
    colour: Colour = ((120, 80, 40), (60, 90, 70), (60, 70, 130), (130, 130, 130))[rng.integers(4)]
    box = shape.block((-length / 2, length / 2), (-1.25, 1.25), (0.1, float(height)), colour, material=Material.METAL)
    ribs = int(length / 0.4)
    for face in ("left", "right"):
        for k in range(ribs):
            shape.patch(box, face, ((k + 0.2) / ribs, (k + 0.6) / ribs), (0.04, 0.96), shaded(colour, 0.7))
    return shape


def dumpster(rng: np.random.Generator) -> Shape:
    """A big bin, about as large as a small car from afar."""
    shape = Shape()
    length = float(rng.uniform(1.8, 4.2))
    green: Colour = ((70, 100, 60), (100, 90, 60), (60, 60, 60))[rng.integers(3)]
    body = shape.block(
        (-length / 2, length / 2), (-0.8, 0.8), (0.15, 1.45), green, inset=(-0.1, -0.1, -0.05), material=Material.METAL
    )
    for face in ("left", "right"):
        shape.patch(body, face, (0.0, 1.0), (0.85, 1.0), shaded(green, 0.6))
    return shape


def rubble(rng: np.random.Generator) -> Shape:
    """A heap of soil or gravel."""
    shape = Shape(label=Label.TERRAIN)
    radius = float(rng.uniform(1.0, 2.2))
    brown = shaded((75, 100, 125), rng.uniform(0.8, 1.2))
    shape.prism(
        (0, 0, radius * 0.3), radius, radius * 0.6, "z", brown, top_radius=radius * 0.2, material=Material.CONCRETE
    )
    return shape
