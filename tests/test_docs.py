"""The documentation: its links lead somewhere, its files exist, its command lines are ones that the tools take."""

import argparse
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data/README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:perception|tests|csrc|tools|configs|benchmarks)/[\w./]+)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def command_lines(page: Path) -> list[str]:
    lines = re.findall(r"^ {4}(?:python3? )?(tools/\w+\.py [^#\n]*)", page.read_text(), flags=re.MULTILINE)
    return [re.sub(r"\s+\(.*\)$|\s{2,}.*$", "", line).strip() for line in lines]


COMMANDS = [(name, line) for page, name in zip(PAGES, NAMES, strict=True) for line in command_lines(page)]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command_lines_are_taken(page: str, line: str) -> None:
    tool, *words = shlex.split(line.replace("PATH", "path"))
    spec = importlib.util.spec_from_file_location(Path(tool).stem, ROOT / tool)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    args = module.parse_args(words)
    config = getattr(args, "config", None)
    if isinstance(args, argparse.Namespace) and config is not None and str(config).startswith("configs/"):
        assert (ROOT / config).is_file() or "my" in str(config), f"{page}: {config}"


def test_every_page_can_be_reached_from_the_first_or_the_readme() -> None:
    reached, waiting = set(), [ROOT / "docs/index.md", ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        links = re.findall(r"\]\(([\w/.-]+\.md)", page.read_text())
        waiting += [path for link in links if (path := (page.parent / link).resolve()).is_file()]
    lost = {page for page in PAGES if page.parent.name == "docs"} - reached
    assert not lost, f"no page links to {sorted(page.name for page in lost)}"


def test_the_site_and_the_workflow_are_valid_yaml() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert site["strict"] and (ROOT / site["docs_dir"]).is_dir()
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert {"make test", "make docs"} <= {step.get("run") for step in steps}


def test_the_image_copies_what_exists() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
