"""Rules that every shell script of the repository follows."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

SCRIPTS = sorted(
    path
    for path in (REPOSITORY / ".ci/run", *(REPOSITORY / "launch").iterdir())
    if path.suffix in ("", ".sh", ".sbatch") and path.is_file()
)
CD = re.compile(r"""(?:^|[;&|(]|\$\()\s*(?:[A-Z_]+=\S*\s+)*(?:cd|pushd)\s[^#]*""")
# Of an absolute folder, or without the variable: `cd` follows CDPATH to a folder of the same name elsewhere.
SAFE = re.compile(r"\bcd /|\bCDPATH='' cd -- ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_follows_cdpath(script: Path) -> None:
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if CD.search(line) and not SAFE.search(line)] == []


def test_such_a_line_stays_in_its_own_folder(tmp_path: Path) -> None:
    """The line of the scripts, beside a folder of the same name to which CDPATH leads."""
    for folder in ("mine/launch", "other/launch"):
        (tmp_path / folder).mkdir(parents=True)
    script = tmp_path / "mine/launch/a.sh"
    for line, folder in (("CDPATH='' cd -- ", "mine"), ("cd ", "other")):
        script.write_text(f'{line}"$(dirname "${{BASH_SOURCE[0]}}")/.." > /dev/null\npwd -P\n')
        command = ("env", f"CDPATH={tmp_path / 'other'}", "bash", "launch/a.sh")
        done = subprocess.run(command, cwd=tmp_path / "mine", capture_output=True, text=True, check=True)
        assert done.stdout == f"{(tmp_path / folder).resolve()}\n"
