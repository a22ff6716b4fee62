"""Keys of a config that nothing reads, refused with the name that was probably meant.

Three kinds can be told:

- a key beside `type=Class` that the class does not take (a class that takes any keyword cannot be checked);
- a key of the parts that mmengine's Runner reads itself: the loaders, `env_cfg`, `randomness`, the top of the config;
- a variable in a config file that no later line of it reads, nor a file that builds on it. In these configs a base has
  been computed before its variables are set again, so that `epochs = 3` below `read_base()` would change nothing.

What cannot be told: a key of a dictionary that the code passes on, such as `clip_grad`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from perception.command_line import nearest

_RUNNER = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}
# What Runner reads of a config beside its own arguments, and `class_names`, which Detector reads.
_TOP = _RUNNER | {
    "compile", "activation_checkpointing", "efficient_conv_bn_eval", "find_unused_parameters", "sync_bn", "class_names",
    "env_cfg",
}  # fmt: skip
_LOADER = (set(inspect.signature(DataLoader.__init__).parameters) - {"self"}) | {
    "num_batch_per_epoch", "disable_subprocess_warning"
}  # fmt: skip
_UNTYPED = {
    "train_dataloader": _LOADER, "val_dataloader": _LOADER, "test_dataloader": _LOADER,
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "env_cfg.mp_cfg": {"mp_start_method", "opencv_num_threads"},
    "randomness": {"seed", "deterministic", "diff_rank_seed"},
}  # fmt: skip
# mmengine takes these out before the class sees them.
_ANYWHERE = {"type", "_scope_", "_delete_", "convert_to_iter_based", "priority"}


class ConfigError(ValueError):
    """A config, or an option that changes one, has a key that nothing reads."""


def check_keys(config: Mapping[str, Any]) -> None:
    """Raises ConfigError naming the first key that its class or mmengine does not read."""
    for path, node in _dictionaries(config, ""):
        known = _known_keys(path, node)
        for key in node:
            if known is not None and key not in known | _ANYWHERE:
                owner = getattr(node.get("type"), "__name__", path)
                raise ConfigError(f"{path}.{key}: {owner} takes no {key!r}{nearest(str(key), known)}")


def check_options(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raises ConfigError naming the first KEY of `--cfg-options` that leads nowhere in the config, or to a variable of
    its file, which no change reaches any more."""
    for key in keys:
        node: Any = config
        parts = key.split(".")
        if parts[0] in config and parts[0] not in _TOP:
            raise ConfigError(
                f"--cfg-options {key}: {parts[0]} is a variable that the config file has used already; change the "
                "value that it went into"
            )
        for depth, part in enumerate(parts):
            path = ".".join(parts[:depth])
            if isinstance(node, (list, tuple)):
                if not part.isdecimal() or int(part) >= len(node):
                    raise ConfigError(f"--cfg-options {key}: {path} is a list of {len(node)}, which has no {part!r}")
                node = node[int(part)]
                continue
            if not isinstance(node, Mapping):
                raise ConfigError(f"--cfg-options {key}: {path} is no dictionary, so it has no {part!r}")
            known = _TOP if not path else _known_keys(path, node) or set()
            if part not in node and (part not in known or depth + 1 < len(parts)):
                hint = nearest(part, {*map(str, node), *known})
                raise ConfigError(f"--cfg-options {key}: {path or 'the config'} has no {part!r}{hint}")
            node = node.get(part)


def check_variables(path: str | Path) -> None:
    """Raises ConfigError naming the first variable in a config file, or one it builds on, that nothing reads."""
    files = _files(Path(path))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    for index, file in enumerate(files):
        later = {name for other in files[:index] for name, _ in _reads(trees[other])}
        for name, line in _assigned(trees[file]):
            read = name in later or any(read == name and where > line for read, where in _reads(trees[file]))
            if name not in _TOP and not read:
                raise ConfigError(
                    f"{file}, line {line}: nothing reads {name!r}{nearest(name, _TOP)}; a base that uses a variable of "
                    "this name has done so already: change the value that it went into"
                )


def _dictionaries(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if path:
            yield path, node
        for key, value in node.items():
            if path or key in _TOP:  # variables of the config file repeat what they were used for
                yield from _dictionaries(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _dictionaries(value, f"{path}.{index}")


def _known_keys(path: str, node: Mapping[str, Any]) -> set[str] | None:
    """The keys that may stand in a dictionary of a config; None where any may."""
    kind = node.get("type")
    if not callable(kind):
        return _UNTYPED.get(path)
    names: set[str] = set()
    for owner in inspect.getmro(kind) if isinstance(kind, type) else (kind,):
        function = owner.__dict__.get("__init__") if isinstance(owner, type) else owner
        if function is None:
            continue
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    return None


def _files(path: Path) -> list[Path]:
    """A config file and all that it builds on, each before those it builds on."""
    order: list[Path] = []

    def visit(file: Path) -> None:
        if file in order:
            return
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                base = file.parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py")
                if base.is_file():
                    visit(base)
        order.append(file)

    visit(path.resolve())
    return order[::-1]


def _assigned(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Variables set at the top of a file, and the line where their statement ends."""
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for leaf in ast.walk(target):
                if isinstance(leaf, ast.Name) and isinstance(leaf.ctx, ast.Store) and not leaf.id.startswith("_"):
                    yield leaf.id, node.end_lineno or node.lineno


def _reads(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno
