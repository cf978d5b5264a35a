"""The rows of the table, in order."""

from collections.abc import Callable
from pathlib import Path

from tests.faults import Row, damage, disk, endurance, hostile, kills, lost, resume, signals

ROWS: dict[str, Callable[[Path, Path], Row]] = {
    "resume": resume.rows,
    "boundaries": kills.boundaries,
    "kills": kills.at_random,
    "disk": disk.one_process,
    "disk_two": disk.two_processes,
    "damage": damage.rows,
    "signals": signals.rows,
    "lost": lost.rows,
    "hostile": hostile.rows,
    "endurance": endurance.rows,
}
