"""What every tool's command line shares: examples in the help, the nearest name of what is misspelt, errors of one
line, exit statuses that mean something, `--quiet` and `--json`.

It imports the standard library only: `--help` must not wait.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

DONE, BAD_INPUT, BAD_USAGE, NOT_FINITE, PROBLEMS, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_STATUS = """exit status:
  0    done
  1    something in the input is bad; stderr names it
  2    the command line is wrong
  3    a loss or a gradient was NaN or infinite
  4    a check found problems, which the result lists
  130  interrupted
"""
_UNRECOGNISED = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """An argument parser with examples and exit statuses in its help, which suggests the nearest name.

    Options are never abbreviated: what is one today may be two tomorrow.
    """

    def __init__(self, description: str | None = None, examples: str = "", **kwargs: Any) -> None:
        super().__init__(
            description=description,
            epilog="\n".join(part for part in (examples, EXIT_STATUS) if part) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        """Leave with the status of wrong usage and one message."""
        if message.startswith(_UNRECOGNISED):
            given = [word.partition("=")[0] for word in message.removeprefix(_UNRECOGNISED).split()]
            hints = [nearest(word, self._options()) for word in given if word.startswith("-")]
            message += "".join(hint for hint in hints if hint)
        elif found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += nearest(found[1], [name.strip(" '") for name in found[2].split(",")])
        self.print_usage(sys.stderr)
        self.exit(BAD_USAGE, f"{self.prog}: error: {message}\n")

    def _options(self) -> list[str]:
        """Every option of this parser and of its subcommands."""
        names: list[str] = []
        for action in self._actions:
            names += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    names += parser._options()
        return names

    def add_output_options(self) -> None:
        """`--quiet` and `--json`."""
        self.add_argument("--quiet", action="store_true", help="no progress and no log, only warnings and the result")
        self.add_argument(
            "--json", action="store_true", help="print the result as one line of JSON, all else to stderr"
        )

    def add_config_options(self) -> None:
        """`--cfg-options`."""
        self.add_argument(
            "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE",
            help="change values of the config, such as train_dataloader.batch_size=4",
        )  # fmt: skip


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" for the known name that is most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def run(
    args: argparse.Namespace,
    body: Callable[[argparse.Namespace], dict[str, Any]],
    show: Callable[[dict[str, Any]], str],
) -> int:
    """Run a tool's `body` and print its result; returns the exit status.

    The result goes to stdout, by `show` or as JSON; of several processes (torchrun's, Slurm's) the first one speaks.
    A result with "problems" that are not empty is status 4. Errors are
    one line on stderr (with --json also {"error", "status"} on stdout); PERCEPTION_TRACEBACK=1 shows where they arose.
    """
    from perception.evaluation.json_file import finite

    # Where it is installed, mmdet3d imports it, and it says eight times that it was written for an older torch.
    warnings.filterwarnings("ignore", category=FutureWarning, module="spconv")
    name = Path(body.__code__.co_filename).stem
    quiet, as_json = getattr(args, "quiet", False), getattr(args, "json", False)
    try:
        with contextlib.ExitStack() as stack:
            if quiet:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            elif as_json:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            result = body(args)
    except KeyboardInterrupt:
        return _failed(name, "interrupted", INTERRUPTED, as_json)
    except FloatingPointError as error:
        return _failed(name, str(error), NOT_FINITE, as_json)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        # Configs, data and checkpoints of others raise all of these; an optional package that is missing, the last.
        return _failed(name, _one_line(error), BAD_INPUT, as_json)
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(finite(result), default=str, allow_nan=False) if as_json else show(result))
    return PROBLEMS if result.get("problems") else DONE


def _failed(name: str, message: str, status: int, as_json: bool) -> int:
    if os.environ.get("PERCEPTION_TRACEBACK") == "1":
        traceback.print_exc()
    print(f"{name}: error: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "status": status}))
    return status


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyError) and len(error.args) == 1:
        return f"there is no {error.args[0]!r}" if " " not in str(error.args[0]) else str(error.args[0])
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    return text or type(error).__name__
