"""Faults that must not harm a run, by kind: `python -m tests.faults` prints the table."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """A line of the table: the fault, the number of attempts, the failures, and a note."""

    what: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def expect(self, holds: bool, otherwise: str) -> None:
        """Count one attempt, and a failure with the text `otherwise` unless it `holds`."""
        self.tried += 1
        if not holds:
            self.failures.append(otherwise)

    def __str__(self) -> str:
        result = f"{len(self.failures)} failed, the first: {self.failures[0]}" if self.failures else "all held"
        return f"| {self.what} | {self.tried} | {result}{'; ' if self.note else ''}{self.note} |"
