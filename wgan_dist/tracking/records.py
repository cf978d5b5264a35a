"""The lines of metrics.jsonl: what a record may hold."""

import json
import math
from typing import Any

# One line of metrics.jsonl. A value that was not finite is NaN.
Record = dict[str, float]
# The values that count or last, and the greatest of each: 30 years in seconds, and whole numbers that floats hold.
COUNTS = {"step": 2.0**53, "seen_images": 2.0**53, "seconds": 1e9}
# What JSON of the wrong form raises while it is read.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def to_float(value: Any) -> float:
    """Return a number of JSON; NaN for null and for what is not finite. Raises TypeError for anything else."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value) if math.isfinite(value) else math.nan


def to_count(value: Any) -> int:
    """Return a number of steps. Raises one of DAMAGED for anything but a whole number from 0 to 2⁵³."""
    number = to_float(value)
    if not 0 <= number <= COUNTS["step"] or number % 1:
        raise ValueError(f"{value!r} is no number of steps")
    return int(number)


def parse_record(line: bytes | str) -> Record:
    """Return the record of a line of metrics.jsonl: the generator step as `step`, and metrics by name.

    Raises one of DAMAGED for anything else, and for counts and durations that are negative or impossibly large.
    """
    record = {str(name): to_float(value) for name, value in json.loads(line).items()}
    to_count(record["step"])
    for name, most in COUNTS.items():
        if not (math.isnan(record.get(name, 0.0)) or 0 <= record.get(name, 0.0) <= most):
            raise ValueError(f"{name}={record[name]} cannot be")
    "".join(record).encode()  # JSON may contain lone surrogates, which UTF-8 cannot encode: raises ValueError
    return record
