"""What every tool's command line has in common."""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from perception.command_line import BAD_INPUT, INTERRUPTED, NOT_FINITE, PROBLEMS, Parser, run

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = sorted((REPOSITORY / "tools").glob("*.py"))
HEAVY = {"torch", "numpy", "mmengine", "mmdet3d", "nuscenes", "cv2", "matplotlib"}


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.stem)
def test_help_has_examples_and_loads_nothing_heavy(path: Path) -> None:
    code = (
        f"import runpy, sys; sys.argv = [{path.name!r}, '--help']\n"
        f"try: runpy.run_path({str(path)!r}, run_name='__main__')\n"
        f"except SystemExit as end: print('status', end.code, sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "examples:" in done.stdout and f"tools/{path.name}" in done.stdout
    assert done.stdout.splitlines()[-1] == "status 0 []"


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.stem)
def test_examples_in_the_help_parse(path: Path) -> None:
    """Every option of an example is one that the tool adds somewhere."""
    tree = ast.parse(path.read_text())
    added = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and str(node.value).startswith("--")
    }
    added |= {"--help", "--cfg-options", "--quiet", "--json", "--nproc-per-node"}
    text = next(
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXAMPLES"  # type: ignore[attr-defined]
    )
    lines = [line for line in text.replace("\\\n", " ").splitlines() if f"tools/{path.name}" in line]
    used = {word for line in lines for word in line.split() if word.startswith("--")}
    assert used <= added, used - added


def parser() -> Parser:
    parser = Parser("A tool.", "examples:\n  a tool")
    commands = parser.add_subparsers(dest="command")
    train = commands.add_parser("train")
    train.add_argument("--learning-rate", type=float)
    train.add_output_options()
    return parser


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--learning-rte", "3"], "did you mean --learning-rate?"),
        (["train", "--learning", "3"], "did you mean --learning-rate?"),  # no abbreviations
        (["train", "--jsn"], "did you mean --json?"),
        (["trian"], "did you mean train?"),
    ],
)
def test_misspelt_options_are_refused_with_the_nearest(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(words)
    assert end.value.code == 2 and expected in capsys.readouterr().err


def test_the_help_lists_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert "exit status:" in capsys.readouterr().out


def body_that(outcome: object):
    def body(args: argparse.Namespace) -> dict:
        print("log line")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[return-value]

    return body


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (FileNotFoundError("no file a.json"), BAD_INPUT, "no file a.json"),
        (PermissionError(13, "Permission denied", "b.json"), BAD_INPUT, "b.json: Permission denied"),
        (ValueError("two\nlines"), BAD_INPUT, "two lines"),
        (KeyError("lidar"), BAD_INPUT, "there is no 'lidar'"),
        (FloatingPointError("NaN in x"), NOT_FINITE, "NaN in x"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_errors_are_one_line_and_a_status(
    outcome: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(quiet=False, json=True)
    assert run(args, body_that(outcome), str) == status
    shown = capsys.readouterr()
    assert shown.err == f"log line\ntest_command_lines: error: {message}\n"
    assert json.loads(shown.out) == {"error": message, "status": status}


def test_results_go_to_stdout_alone_where_they_are_json_or_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"NDS": 0.5}
    for quiet, as_json, out, err in (
        (False, False, "log line\nNDS\n", ""),
        (True, False, "NDS\n", ""),
        (False, True, '{"NDS": 0.5}\n', "log line\n"),
        (True, True, '{"NDS": 0.5}\n', ""),
    ):
        args = argparse.Namespace(quiet=quiet, json=as_json)
        assert run(args, body_that(result), lambda r: "NDS") == 0
        assert capsys.readouterr() == (out, err)
    assert run(argparse.Namespace(), body_that({"problems": ["a file"]}), str) == PROBLEMS


def test_a_bug_is_not_dressed_up_as_bad_input() -> None:
    with pytest.raises(AssertionError):
        run(argparse.Namespace(), body_that(AssertionError("a bug")), str)
