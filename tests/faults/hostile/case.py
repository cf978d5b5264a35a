"""What a case is, and the place where it happens."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.faults.hostile.bombs import PWNED


@dataclass(frozen=True)
class Case:
    """Something to feed to the package; `harmless` says that success is as good as a typed error."""

    name: str
    feed: Callable[[], object]
    harmless: bool = False


@dataclass(frozen=True)
class Place:
    """Folders of cases below `scratch`; `run_dir` is an honest run, `pwned` what must never appear."""

    scratch: Path
    cache_dir: Path
    numbers: "count[int]" = field(default_factory=count)

    @property
    def run_dir(self) -> Path:
        return self.scratch / "run"

    @property
    def pwned(self) -> Path:
        return self.scratch / PWNED

    def fresh(self) -> Path:
        """A new folder."""
        folder = self.scratch / "cases" / str(next(self.numbers))
        folder.mkdir(parents=True)
        return folder

    def file(self, name: str, content: bytes) -> Path:
        """A file in a new folder."""
        path = self.fresh() / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self) -> Path:
        """A copy of the honest run."""
        return Path(shutil.copytree(self.run_dir, self.fresh() / "run"))

    def outside(self) -> set[str]:
        """What there is besides the folders of cases."""
        found = [*self.scratch.iterdir(), *(self.scratch / "cases").iterdir()]
        return {str(path) for path in found if not path.name.isdecimal()}
