"""People, two-wheelers, traffic cones and barriers. Every shape fills its box: length x width x height (m)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from perception.datasets.synthetic.shapes import Colour, Finish, Label, Material, Polygon, Shape, shaded

SKIN: tuple[Colour, ...] = ((140, 170, 215), (110, 140, 190), (70, 95, 140), (50, 65, 100))
HAIR: tuple[Colour, ...] = ((25, 25, 30), (35, 45, 65), (80, 110, 140), (120, 120, 120))
TOPS: tuple[Colour, ...] = (
    (225, 225, 225),
    (40, 40, 45),
    (45, 40, 170),
    (150, 80, 30),
    (60, 120, 50),
    (60, 170, 220),
    (150, 90, 130),
    (110, 110, 115),
)
TROUSERS: tuple[Colour, ...] = ((80, 55, 35), (35, 35, 35), (110, 120, 130), (60, 70, 85), (90, 75, 60))
HIGH_VIS: Colour = (40, 235, 200)
ORANGE: Colour = (20, 95, 240)
WHITE: Colour = (235, 235, 235)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[rng.integers(len(colours))]


def pedestrian(
    rng: np.random.Generator, length: float, width: float, height: float, *, stride: float = 0.0, worker: bool = False
) -> Shape:
    """A person, `stride` 0 (standing) to 1 (a full step); a worker wears a high-visibility vest and a helmet."""
    shape = Shape(label=Label.THING)
    top = HIGH_VIS if worker else _pick(rng, TOPS)
    trousers, skin = _pick(rng, TROUSERS), _pick(rng, SKIN)
    hip, shoulder = 0.48 * height, 0.82 * height
    step = stride * (length / 2 - 0.12)
    for side, forward in ((-1, step), (1, -step)):
        y = side * 0.12 * width / 0.67
        shape.bar((forward, y, 0.0), (0.0, y, hip), (0.15, 0.16), trousers, material=Material.CLOTH)
        shape.block(
            (forward - 0.1, forward + 0.16), (y - 0.06, y + 0.06), (0.0, 0.08), (40, 40, 45), material=Material.CLOTH
        )
        hand = (-forward * 0.8, side * (width / 2 - 0.07), 0.5 * height)
        shape.bar((0.0, side * 0.27 * width / 0.67, shoulder - 0.03), hand, (0.1, 0.1), top, material=Material.CLOTH)
        shape.block(
            (hand[0] - 0.05, hand[0] + 0.05),
            (hand[1] - 0.04, hand[1] + 0.04),
            (hand[2] - 0.08, hand[2]),
            skin,
            lidar=False,
        )
    torso = shape.block(
        (-0.13, 0.13), (-0.24, 0.24), (hip - 0.05, shoulder), top, inset=(0.02, 0.02, 0.03), material=Material.CLOTH
    )
    if worker:
        for face in ("front", "back", "left", "right"):
            shape.patch(torso, face, (0.0, 1.0), (0.3, 0.42), (220, 220, 220))
    elif rng.random() < 0.3:
        shape.block(
            (-0.3, -0.12), (-0.17, 0.17), (0.55 * height, 0.8 * height), _pick(rng, TOPS), material=Material.CLOTH
        )
    shape.prism((0.0, 0.0, 0.845 * height), 0.06, 0.06 * height, "z", skin, lidar=False)
    shape.prism((0.0, 0.0, 0.925 * height), 0.115, 0.13 * height, "z", skin, top_radius=0.1, material=Material.CLOTH)
    cap = (40, 200, 240) if worker else _pick(rng, HAIR)
    shape.prism((-0.012, 0.0, 0.97 * height), 0.122, 0.06 * height, "z", cap, top_radius=0.08, lidar=False)
    return shape


def _ring(shape: Shape, x: float, radius: float, thickness: float, colour: Colour, segments: int = 10) -> None:
    """A spoked wheel in the xz plane: a rim for the camera, a see-through disc for the LiDAR."""
    shape.prism((x, 0.0, radius), radius, thickness, "y", colour, material=Material.SPOKES, visible=False)
    angle = np.arange(segments + 1) * 2 * np.pi / segments
    for a, b in pairwise(angle):
        for side in (-1, 1):
            ring = [
                (x + r * np.cos(t), side * thickness / 2, radius + r * np.sin(t))
                for t, r in ((a, radius), (b, radius), (b, radius * 0.84), (a, radius * 0.84))
            ]
            corners = np.array(ring if side < 0 else ring[::-1])
            shape.polygons.append(Polygon(corners, colour, label=shape.label))


def _rider(
    rng: np.random.Generator, shape: Shape, seat: tuple[float, float], grip: tuple[float, float], height: float
) -> None:
    """A person on a two-wheeler; seat and grip are (x, z)."""
    top, trousers, helmet = _pick(rng, TOPS), _pick(rng, TROUSERS), _pick(rng, TOPS)
    neck = (seat[0] + 0.22, height - 0.3)
    shape.bar((seat[0], 0.0, seat[1]), (neck[0], 0.0, neck[1]), (0.38, 0.24), top, material=Material.CLOTH)
    shape.prism((neck[0] + 0.06, 0.0, height - 0.15), 0.13, 0.28, "z", helmet, top_radius=0.1, material=Material.CLOTH)
    shape.block(
        (neck[0] + 0.13, neck[0] + 0.2), (-0.07, 0.07), (height - 0.24, height - 0.1), _pick(rng, SKIN), lidar=False
    )
    for side in (-1, 1):
        knee = (seat[0] + 0.4, side * 0.16, seat[1] - 0.12)
        foot = (seat[0] + 0.18, side * 0.16, max(0.15, seat[1] - 0.6))
        shape.bar((seat[0], side * 0.1, seat[1]), knee, (0.15, 0.15), trousers, material=Material.CLOTH)
        shape.bar(knee, foot, (0.12, 0.12), trousers, material=Material.CLOTH)
        shape.bar(
            (neck[0], side * 0.18, neck[1] - 0.05),
            (grip[0], side * 0.24, grip[1]),
            (0.1, 0.1),
            top,
            material=Material.CLOTH,
        )


def bicycle(rng: np.random.Generator, length: float, width: float, height: float, *, rider: bool = False) -> Shape:
    """A bicycle: two thin spoked wheels and a frame of tubes; with its rider, or alone on its stand."""
    shape = Shape(label=Label.THING)
    colour = _pick(rng, ((40, 40, 200), (200, 120, 30), (60, 160, 60), (40, 40, 40), (220, 220, 220), (30, 190, 230)))
    radius = min(0.34, 0.2 * length)
    rear, front = -length / 2 + radius, length / 2 - radius
    for x in (rear, front):
        _ring(shape, x, radius, 0.05, (30, 30, 30))
    seat_z, grip_z = min(height, 0.95), min(height, 1.05)
    crank = (-0.05, 0.0, 0.3)
    seat, head = (-0.22, 0.0, seat_z - 0.08), (front - 0.16, 0.0, 0.82)
    pairs = [(crank, seat), (crank, head), (seat, head), ((rear, 0.0, radius), crank), ((rear, 0.0, radius), seat)]
    for a, b in [*pairs, (head, (front, 0.0, radius))]:
        shape.bar(a, b, (0.045, 0.05), colour, material=Material.METAL)
    shape.bar(head, (front - 0.2, 0.0, grip_z), (0.04, 0.04), (40, 40, 40), material=Material.METAL)
    half = min(0.29, width / 2)
    shape.block((front - 0.24, front - 0.18), (-half, half), (grip_z - 0.05, grip_z), (35, 35, 35))
    shape.block((-0.36, -0.1), (-0.08, 0.08), (seat_z - 0.08, seat_z), (30, 30, 30))
    if rider:
        _rider(rng, shape, (-0.22, seat_z), (front - 0.22, grip_z), height)
    return shape


def motorcycle(rng: np.random.Generator, length: float, width: float, height: float, *, rider: bool = False) -> Shape:
    """A motorcycle or scooter: two fat wheels, engine, tank, seat, handlebar; with its rider or parked."""
    shape = Shape(label=Label.THING)
    colour = _pick(rng, ((30, 30, 180), (35, 35, 35), (190, 110, 40), (220, 220, 220), (30, 140, 230)))
    radius = 0.31
    rear, front = -length / 2 + radius, length / 2 - radius
    for x in (rear, front):
        shape.prism((x, 0.0, radius), radius, 0.16, "y", (30, 30, 30), caps=(95, 95, 95), material=Material.DARK)
    shape.block((-0.35, 0.3), (-0.2, 0.2), (0.28, 0.62), (75, 75, 80), inset=(0.05, 0.1, 0.03), material=Material.METAL)
    shape.block((-0.05, 0.42), (-0.19, 0.19), (0.6, 0.95), colour, inset=(0.2, 0.05, 0.05))
    shape.block(
        (-length / 2 + 0.1, 0.0),
        (-0.16, 0.16),
        (0.62, 0.82),
        (35, 33, 33),
        inset=(0.0, 0.0, 0.03),
        material=Material.CLOTH,
    )
    tail = shape.block(
        (-length / 2 + 0.05, -length / 2 + 0.4), (-0.13, 0.13), (0.62, 0.86), colour, inset=(0.1, 0.05, 0.03)
    )
    shape.patch(tail, "back", (0.15, 0.85), (0.5, 0.9), (30, 25, 190), finish=Finish.TAILLIGHT)
    for y in (-0.09, 0.09):
        shape.bar((front, y, radius), (front - 0.35, y, 0.95), (0.06, 0.07), (160, 160, 160), material=Material.METAL)
    half = min(0.36, width / 2)
    grip_z = 1.02
    shape.block(
        (front - 0.44, front - 0.38), (-half, half), (grip_z - 0.05, grip_z), (35, 35, 35), material=Material.METAL
    )
    lamp = shape.block((front - 0.32, front - 0.14), (-0.12, 0.12), (0.8, 1.02), colour, inset=(0.05, 0.0, 0.02))
    shape.patch(lamp, "front", (0.15, 0.85), (0.2, 0.85), (225, 235, 240), finish=Finish.HEADLIGHT)
    shape.bar(
        (-0.2, -0.22, 0.35), (-length / 2 + 0.15, -0.22, 0.45), (0.1, 0.1), (170, 170, 170), material=Material.METAL
    )
    shape.block(
        (front - 0.3, front - 0.24),
        (-0.2, 0.2),
        (1.0, min(height, 1.25)),
        (120, 110, 100),
        inset=(0.04, 0.0, 0.05),
        material=Material.GLASS,
    )
    if rider:
        _rider(rng, shape, (-0.3, 0.82), (front - 0.42, grip_z), height)
    return shape


def traffic_cone(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """An orange cone with white bands, or an orange delineator post."""
    shape = Shape(label=Label.THING)
    base = 0.06
    shape.block(
        (-length / 2, length / 2), (-width / 2, width / 2), (0.0, base), (30, 60, 170), material=Material.PLASTIC
    )
    post = rng.random() < 0.25
    low, high = (0.09, 0.08) if post else (min(length, width) * 0.4, 0.035)
    cuts = [0.0, 0.32, 0.52, 0.66, 0.82, 1.0]
    for k, (a, b) in enumerate(pairwise(cuts)):
        colour = ORANGE if k % 2 == 0 else WHITE
        z0, z1 = base + a * (height - base), base + b * (height - base)
        r0, r1 = low + (high - low) * a, low + (high - low) * b
        shape.prism(
            (0, 0, (z0 + z1) / 2),
            r0,
            z1 - z0,
            "z",
            colour,
            top_radius=r1,
            material=Material.PLASTIC if k % 2 == 0 else Material.RETRO,
        )
    return shape


def barrier(rng: np.random.Generator, length: float, width: float, height: float) -> Shape:
    """A road-works barrier across the x axis: water-filled plastic (red or white) or striped boards on feet."""
    shape = Shape(label=Label.THING)
    if rng.random() < 0.6:
        colour = ORANGE if rng.random() < 0.55 else WHITE
        if rng.random() < 0.3:
            colour = (40, 40, 205)
        foot = shape.block(
            (-length / 2, length / 2),
            (-width / 2, width / 2),
            (0.0, 0.35 * height),
            colour,
            inset=(0.3 * length, 0.3 * length, 0.0),
            material=Material.PLASTIC,
        )
        wall = shape.block(
            (-0.2 * length, 0.2 * length),
            (-width / 2, width / 2),
            (0.35 * height, height),
            colour,
            inset=(0.05 * length, 0.05 * length, 0.02),
            material=Material.PLASTIC,
        )
        dark = shaded(colour, 0.75)
        for face in ("front", "back"):
            for u in (0.22, 0.5, 0.78):
                shape.patch(foot, face, (u - 0.06, u + 0.06), (0.0, 0.45), (35, 35, 40))
                shape.patch(wall, face, (u - 0.1, u + 0.1), (0.15, 0.8), dark)
        return shape
    for y in (-width / 2 + 0.12, width / 2 - 0.12):
        shape.block(
            (-length / 2, length / 2), (y - 0.06, y + 0.06), (0.0, 0.1), (60, 60, 60), material=Material.PLASTIC
        )
        shape.block((-0.05, 0.05), (y - 0.05, y + 0.05), (0.1, height), (200, 200, 200), material=Material.PLASTIC)
    stripe = ORANGE if rng.random() < 0.5 else (35, 35, 200)
    for z0, z1 in ((0.62 * height, 0.98 * height), (0.22 * height, 0.48 * height)):
        board = shape.block((-0.04, 0.04), (-width / 2, width / 2), (z0, z1), WHITE, material=Material.PLASTIC)
        for face in ("front", "back"):
            for k in range(5):
                a = 0.02 + 0.2 * k
                shape.decal(board, face, [(a, 0), (a + 0.1, 0), (a + 0.16, 1), (a + 0.06, 1)], stripe)
    return shape
