"""What is printed moves no cursor, and every module prints through wgan_dist.utils.console."""

import ast
import re
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from wgan_dist.utils.console import escape_unprintable, note, print_lines, print_now, print_to_stderr, rewrite_line

# The sampler stands alone, and this module is the one place that prints.
PRINTERS = {"export/sampler.py", "wgan_dist/utils/console.py"}
STREAMS = re.compile(r"sys\.(stdout|stderr)\.(write|writelines|buffer)|traceback\.print|warnings\.warn\b|pprint")
HOSTILE = {
    "a clipboard": ("\x1b]52;c;cm0gLXJmIH4=\x07", r"\x1b]52;c;cm0gLXJmIH4=\x07"),
    "a cleared screen": ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    "a control sequence in one character": ("\x9b2J", r"\x9b2J"),
    "a line": ("cats\nerror: pay here", r"cats\nerror: pay here"),
    "a line of Unicode": ("cats\u2028error\x85error", r"cats\u2028error\x85error"),
    "an overwritten line": ("cats\rdogs\b\b", r"cats\rdogs\x08\x08"),
    "reversed letters": ("photo\u202egnp.exe\u2066", r"photo\u202egnp.exe\u2066"),
    "invisible letters": ("ca\u200bts\u00ad\ufeff", r"ca\u200bts\xad\ufeff"),
    "a name that is not UTF-8": ("\udcff.png", r"\udcff.png"),
    "letters of people": ("Katzen für Łódź, 猫, قطة, λ‖∇‖, 10 × 3 ↓", "Katzen für Łódź, 猫, قطة, λ‖∇‖, 10 × 3 ↓"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_not_printable_is_printed_as_an_escape_sequence(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert escape_unprintable(text) == shown
    print_now(text)
    print_lines(["first", text])
    rewrite_line(text)
    print_to_stderr(text)
    note(text)
    printed = capsys.readouterr()
    assert printed.out == f"{shown}\nfirst\n{shown}\n\r\x1b[K{shown}"
    assert printed.err == f"{shown}\nnote: {shown}\n"


def prints(source: str) -> bool:
    """Return whether a module prints by itself."""
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    return "print" in names or bool(STREAMS.search(source))


@pytest.mark.parametrize(
    "source", ["print('x')", "f(print)", "import sys; sys.stderr.write('x')", "import warnings; warnings.warn('x')"]
)
def test_the_search_finds_what_prints(source: str) -> None:
    assert prints(source)


def test_one_module_prints() -> None:
    modules = [path for package in ("wgan_dist", "export") for path in (REPOSITORY / package).rglob("*.py")]
    found = {path.relative_to(REPOSITORY).as_posix() for path in modules if prints(Path(path).read_text("utf-8"))}
    assert found == PRINTERS
