"""What must not be able to hurt a run, each kind of it counted: `python -m tests.faults` prints the table."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the table: what was done how often, what went wrong, and what is worth saying."""

    what: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def expect(self, holds: bool, otherwise: str) -> None:
        """One thing tried."""
        self.tried += 1
        if not holds:
            self.failures.append(otherwise)

    def __str__(self) -> str:
        result = f"{len(self.failures)} failed, the first: {self.failures[0]}" if self.failures else "all held"
        return f"| {self.what} | {self.tried} | {result}{'; ' if self.note else ''}{self.note} |"
