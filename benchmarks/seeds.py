"""Variants of a training over seeds and their table, which the ablations share. What is finished is kept on disk."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser, names: Sequence[str], chosen: Sequence[str] | None = None) -> None:
    """--seeds, and --only of `names`, by default those `chosen`, or all."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=names, default=chosen or names, help="default: %(default)s")


def kept(work_dir: Path, args: argparse.Namespace, make: Callable[[], Row]) -> Row:
    """The row that `make` returns; where a call before wrote it to the folder, that one.

    Exits where that call had other arguments: its scores would pass for those of these.
    """
    finished = work_dir / "row.json"
    settings = {k: str(v) for k, v in vars(args).items() if k not in ("only", "seeds", "work_dir", "resume")}
    if not finished.is_file():
        row = make()
        finished.write_text(json.dumps({"settings": settings, "row": row}))
        return row
    before = json.loads(finished.read_text())
    if before["settings"] != settings:
        print(
            f"error: {finished} is of {before['settings']}, asked for are {settings}: take another --work-dir",
            file=sys.stderr,
        )
        sys.exit(1)
    row = before["row"]
    return row


def every_row(run: Callable[[str, int], Row], args: argparse.Namespace) -> list[Row]:
    """`run` for each name of `args.only` and each seed, printed as they come. Exits where the data set lacks a file."""
    rows = []
    for seed in args.seeds:
        for name in args.only:
            try:
                rows.append(run(name, seed))
            except FileNotFoundError as error:
                print(f"error: {error}", file=sys.stderr)
                sys.exit(1)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def print_table(rows: list[Row], scores: Sequence[str], unit: str) -> None:
    """Mean and range over seeds of each score (%) that a variant has."""
    print(f"{'':16}" + "".join(f"{name:>18}" for name in scores) + f"   (100 {unit}: mean and range over seeds)")
    for name in dict.fromkeys(row["name"] for row in rows):
        print(f"{name:16}", end="")
        for score in scores:
            values = [row[score] for row in rows if row["name"] == name and row.get(score) is not None]
            text = f"{statistics.mean(values):.1f} {min(values):.1f}-{max(values):.1f}" if values else "-"
            print(f"{text:>18}", end="")
        print()
