"""Ways in which a file goes bad, drawn from a seed: given the bytes that were there, each writes what is there now."""

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

HUGE_BYTES = 1 << 40  # a hole: it takes no room on the disk

Damage = Callable[[Path, bytes, random.Random], None]


def missing(path: Path, content: bytes, rng: random.Random) -> None:
    path.unlink()


def empty(path: Path, content: bytes, rng: random.Random) -> None:
    path.write_bytes(b"")


def truncated(path: Path, content: bytes, rng: random.Random) -> None:
    path.write_bytes(content[: rng.randrange(1, len(content))])


def bit_flipped(path: Path, content: bytes, rng: random.Random) -> None:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)


def overwritten(path: Path, content: bytes, rng: random.Random) -> None:
    """A block of another file where this one's should be, as after a crash of the file system."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 512)
    damaged = bytearray(content)
    damaged[start : start + length] = rng.randbytes(min(length, len(content) - start))
    path.write_bytes(damaged)


def wrong_type(path: Path, content: bytes, rng: random.Random) -> None:
    """Another kind of file, or a folder, under this name."""
    kinds = [
        b"<html>502 Bad Gateway</html>\n" * 20,
        rng.randbytes(len(content)),
        b"\0" * len(content),
        b"{}",
        b"[1, 2]",
    ]
    choice = rng.randrange(len(kinds) + 1)
    if choice == len(kinds):
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(kinds[choice])


def nan_in_floats(path: Path, content: bytes, rng: random.Random) -> None:
    """NaN or an infinity among float32 numbers x y z intensity; the fifth number of a point is not read."""
    damaged = bytearray(content)
    at = 20 * rng.randrange(len(content) // 20) + 4 * rng.randrange(4)
    damaged[at : at + 4] = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff"))
    path.write_bytes(damaged)


def nan_in_json(path: Path, content: bytes, rng: random.Random) -> None:
    """NaN, or a number beyond all floats, where a number stood."""
    numbers = list(re.finditer(rb"(?<=[\[ ])-?\d+(\.\d+)?(e-?\d+)?(?=[,\]}])", content))
    if not numbers:  # a table of names alone
        path.write_bytes(content[:-1] + b", NaN]")
        return
    found = rng.choice(numbers)
    path.write_bytes(content[: found.start()] + rng.choice((b"NaN", b"Infinity", b"1e999")) + content[found.end() :])


def changed_in_json(path: Path, content: bytes, rng: random.Random) -> None:
    """A value of another kind, or a key gone, somewhere in valid JSON."""
    root = json.loads(content)
    places = [(node, key) for node in _nodes(root) for key in (node if isinstance(node, dict) else range(len(node)))]
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[key]
    else:
        node[key] = rng.choice([None, "text", -1, 1e30, [], {}, [[1]], True, "x" * 5000])
    path.write_text(json.dumps(root))


def _nodes(value: object) -> list[dict | list]:
    if not isinstance(value, (dict, list)):
        return []
    children = value.values() if isinstance(value, dict) else value
    return [value, *(node for child in children for node in _nodes(child))]


def huge(path: Path, content: bytes, rng: random.Random) -> None:
    os.truncate(path, HUGE_BYTES)


COMMON: tuple[Damage, ...] = (missing, empty, truncated, bit_flipped, overwritten, wrong_type, huge)
# Damages that leave a file which may be as good as any other.
MAY_PASS = (bit_flipped, overwritten, changed_in_json)
