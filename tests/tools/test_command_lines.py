"""What every tool's command line has in common."""

import argparse
import ast
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from perception.command_line import BAD_INPUT, INTERRUPTED, NOT_FINITE, PROBLEMS, Parser, run

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = sorted((REPOSITORY / "tools").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.stem)
def test_help_has_examples_and_waits_for_nothing(path: Path) -> None:
    """Beside our own package only the standard library is imported, whatever the interpreter itself starts with."""
    code = (
        f"import runpy, sys; sys.argv = [{path.name!r}, '--help']; before = set(sys.modules)\n"
        f"try: runpy.run_path({str(path)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    loaded = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "    print('status', end.code, sorted(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "examples:" in done.stdout and f"tools/{path.name}" in done.stdout and "exit status:" in done.stdout
    assert done.stdout.splitlines()[-1] == "status 0 ['perception']"


class Caught(Exception):
    """Carries a tool's parser out of it."""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers that take a command's options: of each subcommand, or the only one."""
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for choices in below:
        for choice in choices.values():
            yield from commands(choice)


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.stem)
def test_every_command_is_quiet_on_request_and_speaks_json(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_args(self: argparse.ArgumentParser, argv: object = None) -> None:
        raise Caught(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(Caught) as caught:
        load(path.stem).parse_args([])
    for command in commands(caught.value.args[0]):
        assert isinstance(command, Parser), command.prog  # which suggests names and does not abbreviate
        options = {name for action in command._actions for name in action.option_strings}
        assert {"--help", "--quiet", "--json"} <= options, command.prog


BAD_INPUTS = {
    "analyze": ["nowhere.json", "--infos", "nowhere.json", "--out", "out"],
    "benchmark": ["step", "nowhere.py"],
    "check_sensors": ["nowhere"],
    "convert_checkpoint": ["sst", "nowhere.pth", "out.pth"],
    "create_data": ["nuscenes", "--root", "nowhere", "--version", "v1.0-mini", "--out", "out"],
    "demo": ["--config", "nowhere.py", "--data", "out", "--work-dir", "out"],
    "export": ["nowhere.py", "nowhere.pth", "--out", "out"],
    "infer": ["nowhere.py", "nowhere.pth", "nowhere", "--out", "out"],
    "test": ["nowhere.py", "nowhere.pth", "--out", "out"],
    "train": ["nowhere.py", "--work-dir", "out"],
    "verify_export": ["nowhere", "nowhere.py", "nowhere.pth", "nowhere"],
    "visualize": ["--infos", "nowhere.json", "--out", "out"],
}


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.stem)
def test_bad_input_is_one_line_and_status_1(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(path.stem).main([*BAD_INPUTS[path.stem], "--quiet", "--json"]) == BAD_INPUT
    shown = capsys.readouterr()
    assert shown.err.startswith(f"{path.stem}: error: ") and "nowhere" in shown.err
    assert shown.err.count("\n") == 1
    assert json.loads(shown.out)["status"] == BAD_INPUT
    assert list(tmp_path.iterdir()) == []


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
        (ModuleNotFoundError("no open3d: pip install open3d"), BAD_INPUT, "no open3d: pip install open3d"),
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


def test_what_is_not_finite_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(quiet=True, json=True)
    assert run(args, body_that({"mAP": float("nan"), "spread": [float("inf"), 1.0]}), str) == 0
    assert capsys.readouterr().out == '{"mAP": null, "spread": [null, 1.0]}\n'


def test_an_optional_package_written_for_an_older_torch_is_not_heard() -> None:
    def body(args: argparse.Namespace) -> dict[str, object]:
        warnings.warn_explicit("old", FutureWarning, "functional.py", 1, module="spconv.pytorch.functional")
        warnings.warn_explicit("ours", FutureWarning, "lift.py", 1, module="perception.camera.lift")
        return {}

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        run(argparse.Namespace(), body, str)
    assert [str(warning.message) for warning in heard] == ["ours"]


def test_a_bug_is_not_dressed_up_as_bad_input() -> None:
    with pytest.raises(AssertionError):
        run(argparse.Namespace(), body_that(AssertionError("a bug")), str)
