"""Objects as convex solids (for the LiDAR) and coloured polygons (for the cameras), in one build.

Object frame: x forward, y left, z up, origin on the ground under the middle of the bounding box; metres. Colours are
BGR, 0..255. A polygon may be a decal: it lies on the face of a solid and is drawn over it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

Colour = tuple[float, float, float]


def bgr(values: np.ndarray) -> Colour:
    """A colour of three numbers, held within 0..255."""
    blue, green, red = np.clip(values, 0, 255).tolist()
    return blue, green, red


def shaded(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour."""
    return bgr(np.array(colour) * factor)


class Material(IntEnum):
    """What a LiDAR pulse meets."""

    PAINT = 0
    DARK = 1  # black paint, rubber: few returns
    GLASS = 2  # most pulses pass
    CLOTH = 3
    PLASTIC = 4
    CONCRETE = 5
    METAL = 6
    FOLIAGE = 7  # porous
    RETRO = 8  # signs, reflective bands
    SPOKES = 9  # a wheel one can look through


class Finish(IntEnum):
    """How a polygon is lit."""

    MATTE = 0
    GLASS = 1
    HEADLIGHT = 2
    TAILLIGHT = 3
    LAMP = 4


class Label(IntEnum):
    """What a pixel shows, for masks; things follow as THING + class index."""

    VOID = 0
    SKY = 1
    ROAD = 2
    SIDEWALK = 3
    TERRAIN = 4
    BUILDING = 5
    VEGETATION = 6
    OBSTACLE = 7
    THING = 16


# Corners of each face of a hexahedron, counter-clockwise from outside, beginning at its lower left.
# Vertices 0..3 are the bottom ring (counter-clockwise from above, from x min, y min), 4..7 the top ring above it.
HEXA_FACES = {
    "front": (1, 2, 6, 5),
    "back": (3, 0, 4, 7),
    "left": (2, 3, 7, 6),
    "right": (0, 1, 5, 4),
    "top": (4, 5, 6, 7),
    "bottom": (3, 2, 1, 0),
}
PRISM_SIDES = 8


@dataclass
class Polygon:
    corners: np.ndarray  # [n,3], 3 <= n <= 8
    colour: Colour
    finish: Finish = Finish.MATTE
    layer: int = 0  # 0: a face, higher: decals over it
    texture: int = -1  # facade texture, -1: plain
    label: int = Label.OBSTACLE


@dataclass
class Solid:
    vertices: np.ndarray  # [8 or 16, 3]
    faces: list[tuple[int, ...]]
    material: Material


@dataclass
class Sprite:
    """A round picture that always faces the camera: foliage."""

    centre: np.ndarray  # [3]
    width: float
    height: float
    colour: Colour
    pattern: int


@dataclass
class Shape:
    """A buildable object: what each sensor meets of it."""

    solids: list[Solid] = field(default_factory=list)
    polygons: list[Polygon] = field(default_factory=list)
    sprites: list[Sprite] = field(default_factory=list)
    label: Label = Label.OBSTACLE

    def block(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        *,
        inset: tuple[float, float, float] = (0.0, 0.0, 0.0),
        material: Material = Material.PAINT,
        finish: Finish = Finish.MATTE,
        faces: dict[str, Colour] | None = None,
        lidar: bool = True,
    ) -> np.ndarray:
        """An upright block between x, y, z limits; its vertices [8,3].

        Its top is smaller by inset = (front, back, each side), m; `faces` recolours some faces by name.
        """
        front, back, side = inset
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        bottom = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)]
        top = [
            (x0 + back, y0 + side, z1),
            (x1 - front, y0 + side, z1),
            (x1 - front, y1 - side, z1),
            (x0 + back, y1 - side, z1),
        ]
        return self.hexahedron(
            np.array(bottom + top), colour, material=material, finish=finish, faces=faces, lidar=lidar
        )

    def hexahedron(
        self,
        vertices: np.ndarray,
        colour: Colour,
        *,
        material: Material = Material.PAINT,
        finish: Finish = Finish.MATTE,
        faces: dict[str, Colour] | None = None,
        lidar: bool = True,
    ) -> np.ndarray:
        """A convex body with six plane faces; `faces` recolours some by name. Returns its vertices [8,3]."""
        for name, indices in HEXA_FACES.items():
            own = (faces or {}).get(name, colour)
            self.polygons.append(Polygon(vertices[list(indices)], own, finish, label=self.label))
        if lidar:
            self.solids.append(Solid(vertices, list(HEXA_FACES.values()), material))
        return vertices

    def bar(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        thickness: tuple[float, float],
        colour: Colour,
        *,
        material: Material = Material.PAINT,
        lidar: bool = True,
    ) -> np.ndarray:
        """A straight bar from start to end, thickness = (across, in the other direction); its vertices [8,3]."""
        a, b = np.array(start, dtype=float), np.array(end, dtype=float)
        along = (b - a) / np.linalg.norm(b - a)
        reference = np.array([0.0, 1.0, 0.0]) if abs(along[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
        other = np.cross(along, reference)
        other /= np.linalg.norm(other)
        across = np.cross(other, along)
        across, other = across * thickness[0] / 2, other * thickness[1] / 2
        # "bottom" ring at the start, "top" ring at the end; counter-clockwise seen from the end.
        ring = [-across - other, across - other, across + other, -across + other]
        vertices = np.array([a + r for r in ring] + [b + r for r in ring])
        return self.hexahedron(vertices, colour, material=material, lidar=lidar)

    def prism(
        self,
        centre: tuple[float, float, float],
        radius: float,
        length: float,
        axis: str,
        colour: Colour,
        *,
        top_radius: float | None = None,
        caps: Colour | None = None,
        material: Material = Material.PAINT,
        lidar: bool = True,
        visible: bool = True,
    ) -> np.ndarray:
        """An octagonal prism (or frustum) along axis "y" or "z", `centre` its middle; its vertices [16,3]."""
        angle = (np.arange(PRISM_SIDES) + 0.5) * 2 * np.pi / PRISM_SIDES
        ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(PRISM_SIDES)], axis=1)
        upper = radius if top_radius is None else top_radius
        half = np.array([0.0, 0.0, length / 2])
        vertices = np.concatenate([ring * radius - half, ring * upper + half])
        if axis == "y":
            vertices = vertices[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0])  # a rotation, so faces keep facing outwards
        vertices = vertices + np.array(centre)
        n = PRISM_SIDES
        sides = [(i, (i + 1) % n, (i + 1) % n + n, i + n) for i in range(n)]
        ends = [tuple(range(n - 1, -1, -1)), tuple(range(n, 2 * n))]
        if visible:
            for indices in sides + ends:
                own = colour if len(indices) == 4 or caps is None else caps
                self.polygons.append(Polygon(vertices[list(indices)], own, label=self.label))
        if lidar:
            self.solids.append(Solid(vertices, sides + ends, material))
        return vertices

    def decal(
        self,
        vertices: np.ndarray,
        face: str,
        outline: list[tuple[float, float]],
        colour: Colour,
        *,
        finish: Finish = Finish.MATTE,
        layer: int = 1,
    ) -> None:
        """A polygon painted on a block's face; outline in the face's own (u right, v up), each 0..1."""
        low_left, low_right, up_right, up_left = vertices[list(HEXA_FACES[face])]
        u, v = np.array(outline).T[..., None]
        corners = (low_left * (1 - u) + low_right * u) * (1 - v) + (up_left * (1 - u) + up_right * u) * v
        self.polygons.append(Polygon(corners, colour, finish, layer, label=self.label))

    def patch(
        self,
        vertices: np.ndarray,
        face: str,
        u: tuple[float, float],
        v: tuple[float, float],
        colour: Colour,
        *,
        finish: Finish = Finish.MATTE,
        layer: int = 1,
    ) -> None:
        """A rectangular decal between u and v limits."""
        outline = [(u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1])]
        self.decal(vertices, face, outline, colour, finish=finish, layer=layer)

    def moved(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Shape:
        """The same shape turned by yaw (rad), then shifted (m)."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        shift = np.array([x, y, z])

        def place(points: np.ndarray) -> np.ndarray:
            return points @ rotation.T + shift

        return Shape(
            [Solid(place(s.vertices), s.faces, s.material) for s in self.solids],
            [Polygon(place(p.corners), p.colour, p.finish, p.layer, p.texture, p.label) for p in self.polygons],
            [Sprite(place(s.centre), s.width, s.height, s.colour, s.pattern) for s in self.sprites],
            self.label,
        )

    def extend(self, other: Shape) -> None:
        """Take in everything of another shape."""
        self.solids += other.solids
        self.polygons += other.polygons
        self.sprites += other.sprites
