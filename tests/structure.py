"""Print a table of measures of the code's structure beside their limits.

python -m tests.structure          # trains three tiny steps and times the help of every command
python -m tests.structure --fast   # reads the source files only
"""

import argparse
import ast
import functools
import io
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.processes import REPOSITORY
from tests.repository.test_layers import MODULES, ORDER, imports, package_of

TRAINER = REPOSITORY / "wgan_dist/training/trainer.py"
# The function that the training loop enters once per step.
STEP_FUNCTION = "generator_step"
TINY_RUN: dict[str, Any] = {
    "data": "digits",
    "image_size": 16,
    "batch_size": 8,
    "latent_dim": 8,
    "generator_features": 4,
    "critic_features": 4,
    "n_critic": 2,
    "max_steps": 3,
    "log_every": 1000,
    "sample_every": 1000,
    "checkpoint_every": 1000,
    "threads": 1,
}
HELP_REPEATS = 3
UNKNOWN_FLAG = "--no_such_setting=1"
# First words of a docstring that begins with a fragment instead of a sentence.
FRAGMENT = re.compile(r"(As|How|Of|What|When|Where|Whether|Which|Who|Whose)\b")
PRIVATE_API = re.compile(
    r"\btorch(?:\.\w+)*\._[a-z]\w*"  # torch._C and every private name below torch
    r"|\bfrom torch[\w.]* import [^\n]*\b_[a-z]\w*"
    r"|\btorch\.ops(?:\.\w+)+"
    r"|(?<!torch\.)\b_(?:amp|foreach)_\w+"
    r"|\b(?:os|threading|sys)\._[a-z]\w*"
    r"|\bctypes\.(?:CDLL|util)\b",
    re.IGNORECASE,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Measure:
    """One row of the table: what is measured, its value today, its limit, and details that are printed below."""

    what: str
    today: str
    limit: str
    details: list[str] = field(default_factory=list)


@functools.cache
def syntax_tree(path: Path) -> ast.Module:
    """Parse a source file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _place(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"


def _docstring(node: ast.AST) -> ast.Constant | None:
    """Return the docstring's node of a module, class or function, if it has one."""
    if not isinstance(node, ast.Module | ast.ClassDef | Function) or not node.body:
        return None
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


@functools.cache
def code_lines(path: Path) -> list[tuple[int, str]]:
    """Return the numbers and texts of a file's lines that hold code: no blanks, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    layout = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
        elif token.type not in layout:
            numbers |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(syntax_tree(path)):
        if docstring := _docstring(node):
            numbers -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return [(number, lines[number - 1]) for number in sorted(numbers) if lines[number - 1].strip()]


# --- measures of the source files ---


def root_modules() -> Measure:
    """Count the modules that lie directly in wgan_dist/."""
    names = sorted(path.stem for path in (REPOSITORY / "wgan_dist").glob("*.py") if path.stem != "__init__")
    return Measure("modules directly in wgan_dist/", str(len(names)), "≤ 14", [", ".join(names)])


def package_order() -> Measure:
    """Count the packages of the import order and the imports that run against it."""
    upward = sorted(
        f"{module} → {imported}"
        for module, path in MODULES.items()
        for imported in imports(path) & MODULES.keys() - {"wgan_dist"}
        if ORDER.index(package_of(imported)) > ORDER.index(package_of(module))
    )
    today = f"{len(ORDER)} packages, {len(upward)} upward"
    return Measure("packages in import order, upward imports", today, "≤ 14, 0", upward)


def trainer_lines() -> Measure:
    """Count the lines of the trainer's module."""
    return Measure("lines of trainer.py", str(len(TRAINER.read_text(encoding="utf-8").splitlines())), "≤ 200")


def _longest(*kinds: type[ast.stmt]) -> tuple[str, list[str]]:
    """Return the length of the longest definition of the given kinds, and the places of the three longest."""
    found = sorted(
        (
            ((node.end_lineno or node.lineno) - node.lineno + 1, f"{_place(path, node.lineno)} {node.name}")
            for path in MODULES.values()
            for node in ast.walk(syntax_tree(path))
            if isinstance(node, kinds) and isinstance(node, ast.ClassDef | Function)
        ),
        reverse=True,
    )
    return str(found[0][0]), [f"{length}: {place}" for length, place in found[:3]]


def longest_class() -> Measure:
    """Return the length of the longest class in lines."""
    today, details = _longest(ast.ClassDef)
    return Measure("longest class, lines", today, "≤ 150", details)


def longest_function() -> Measure:
    """Return the length of the longest function in lines."""
    today, details = _longest(ast.FunctionDef, ast.AsyncFunctionDef)
    return Measure("longest function, lines", today, "", details)


def lines_of_code() -> Measure:
    """Count the lines of code of both packages."""
    by_package: dict[str, int] = {}
    for module, path in MODULES.items():
        by_package[package_of(module)] = by_package.get(package_of(module), 0) + len(code_lines(path))
    details = ", ".join(f"{package} {by_package[package]:,}" for package in ORDER if package in by_package)
    return Measure("lines of code", f"{sum(by_package.values()):,}", "≤ 8,600", [details])


def _imports_in_functions(path: Path) -> Iterator[str]:
    nodes = {
        inner.lineno: ast.unparse(inner)
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, Function)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    for line, statement in sorted(nodes.items()):
        yield f"{_place(path, line)} {statement}"


def imports_in_functions() -> Measure:
    """Count the import statements that stand inside functions."""
    found = [place for path in MODULES.values() for place in _imports_in_functions(path)]
    return Measure("imports inside functions", str(len(found)), "≤ 25", found)


def private_api() -> Measure:
    """Count the uses of private names of torch and the standard library, of torch.ops and of ctypes."""
    found = [
        f"{_place(path, number)} {match[0]}"
        for path in MODULES.values()
        for number, line in code_lines(path)
        for match in PRIVATE_API.finditer(line)
    ]
    return Measure("uses of private or C API", str(len(found)), "≤ 10", found)


def docstring_fragments() -> Measure:
    """Count the docstrings whose first line is a fragment, not a sentence."""
    found = []
    for path in MODULES.values():
        for node in ast.walk(syntax_tree(path)):
            docstring = _docstring(node)
            if docstring and FRAGMENT.match(str(docstring.value)):
                found.append(f"{_place(path, docstring.lineno)} {str(docstring.value).splitlines()[0]}")
    return Measure("docstrings that begin with a fragment", str(len(found)), "0", found)


# --- measures of running code ---


@dataclass
class StepRecorder:
    """A profile function that records the project's functions in the order in which one training step enters them.

    A step lies between the second and the third call of STEP_FUNCTION: one generator step, then the critic iterations
    of the next step, with everything that the loop does around them.
    """

    steps: int = 0
    entered: list[CodeType] = field(default_factory=list)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Record one event of `sys.setprofile`."""
        if event != "call" or not _is_project_file(frame.f_code.co_filename):
            return
        self.steps += frame.f_code.co_name == STEP_FUNCTION
        if self.steps == 2:
            self.entered.append(frame.f_code)

    @property
    def changes(self) -> int:
        """Count the functions entered that lie in another file than the function entered before them."""
        files = [code.co_filename for code in self.entered]
        return sum(previous != current for previous, current in itertools.pairwise(files))


@functools.cache
def _is_project_file(name: str) -> bool:
    return name.startswith((str(REPOSITORY / "wgan_dist"), str(REPOSITORY / "export")))


def file_changes() -> Measure:
    """Train three tiny steps and count how often one of them changes file on the main thread."""
    import wgan_dist

    recorder = StepRecorder()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        settings = TINY_RUN | {"run_dir": f"{folder}/run", "cache_dir": f"{folder}/cache"}
        sys.setprofile(recorder)
        try:
            wgan_dist.fit(**settings)
        finally:
            sys.setprofile(None)
    files = {Path(code.co_filename) for code in recorder.entered}
    names = ", ".join(sorted(str(path.relative_to(REPOSITORY)) for path in files))
    calls = f"{len(recorder.entered):,} calls of {len(set(recorder.entered))} functions in {len(files)} files"
    return Measure("changes of file in one step", str(recorder.changes), "≤ 200", [calls, names])


def commands() -> list[str]:
    """Return the modules that a user runs by `python -m`, under the names that are typed."""
    runnable = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)
    names = {
        module.removesuffix(".__main__")
        for module, path in MODULES.items()
        if package_of(module) in ("commands", "export")
        and (module.endswith("__main__") or runnable.search(path.read_text(encoding="utf-8")))
    }
    return sorted(names)


def _seconds(*words: str) -> float:
    """Return how long a command takes, the median of a few runs."""
    times = []
    for _ in range(HELP_REPEATS):
        began = time.perf_counter()
        subprocess.run((sys.executable, "-m", *words), cwd=REPOSITORY, capture_output=True, check=False)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def help_seconds() -> Measure:
    """Time the help of every command, and its answer to a flag that it does not know."""
    times = {command: (_seconds(command, "--help"), _seconds(command, UNKNOWN_FLAG)) for command in commands()}
    details = [f"{command}: {shown:.2f} s, unknown flag {refused:.2f} s" for command, (shown, refused) in times.items()]
    slowest = max(max(pair) for pair in times.values())
    return Measure("slowest --help or argument error", f"{slowest:.2f} s", "≤ 0.5 s", details)


SOURCE_MEASURES = [
    root_modules,
    package_order,
    trainer_lines,
    longest_class,
    longest_function,
    lines_of_code,
    imports_in_functions,
    private_api,
    docstring_fragments,
]
RUN_MEASURES = [file_changes, help_seconds]


def table(measures: list[Measure]) -> str:
    """Format the measures as a Markdown table, with the details of each below it."""
    rows = [f"| {measure.what} | {measure.today} | {measure.limit} |" for measure in measures]
    details = ["\n".join([f"\n{measure.what}:", *measure.details]) for measure in measures if measure.details]
    return "\n".join(["| what | today | limit |", "|---|---|---|", *rows, *details])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="leave out the measures that run code")
    measures = SOURCE_MEASURES + ([] if parser.parse_args().fast else RUN_MEASURES)
    print(table([measure() for measure in measures]))


if __name__ == "__main__":
    main()
