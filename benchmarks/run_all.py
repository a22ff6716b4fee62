"""Runs every benchmarks/bench_*.py and prints one table from the JSON lines that they end in.

python benchmarks/run_all.py [--only voxelize bev_pool] [--json results.jsonl]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
COLUMNS = ("name", "ours_ms", "other", "other_ms", "ratio", "floor_ms", "threads", "device")


def run(script: Path) -> tuple[list[dict[str, Any]], str]:
    """The JSON lines of one benchmark, and its error output where it failed or printed none."""
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    if result.returncode != 0 or not lines:
        return lines, f"{script.name} exited with {result.returncode}: {result.stderr.strip()[-2000:]}"
    return lines, ""


def cell(value: object) -> str:
    """A number with three significant digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) and value < 1000 else str(value)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as columns of text."""
    cells = [list(COLUMNS)] + [[cell(row.get(column, "")) for column in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table")
    parser.add_argument("--only", nargs="*", default=[], help="names without bench_ and .py")
    parser.add_argument("--json", type=Path, help="also write the JSON lines to this file")
    args = parser.parse_args()
    scripts = sorted(BENCHMARKS.glob("bench_*.py"))
    unknown = set(args.only) - {script.stem.removeprefix("bench_") for script in scripts}
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for script in scripts:
        if args.only and script.stem.removeprefix("bench_") not in args.only:
            continue
        print(f"{script.name} ...", file=sys.stderr, flush=True)
        found, failure = run(script)
        rows += found
        failures += [failure] if failure else []
    print(table(rows))
    if args.json is not None:
        args.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
