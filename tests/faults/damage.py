"""Flipped bits and truncated files in a checkpoint and the generator are found, and the older checkpoint is used."""

import contextlib
import io
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Row
from tests.faults.resume import attempt
from tests.faults.tiny import SETTINGS
from wgan_dist.checkpoints import checkpoint_folders, generator_file, manifest
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.utils.errors import UserError

FLIPS, CUTS = 32, 8


def damages(content: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield copies with one flipped bit, at the first, the last and random bytes, and truncated copies."""
    places = [0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(FLIPS - 2))]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        yield f"bit of byte {place}", bytes(flipped)
    for length in [0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(CUTS - 2))]:
        yield f"cut at {length}", content[:length]


def _is_refused(generator: Path) -> bool:
    try:
        generator_file.load(generator)
    except UserError:
        return True
    return False


def _falls_back(checkpoints: Path, older: Path) -> bool:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        newest = checkpoint_folders.newest_checkpoint(checkpoints, set_aside=False)
    return newest == older and "damaged" in said.getvalue()


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Damage every file of the newer of two checkpoints, and the generator of the run."""
    row, chance = Row("bit flips and truncation, over every file of a checkpoint and the generator"), random.Random(0)
    run_dir = scratch / "run"
    settings = SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "10"}
    attempt(settings | {"run_dir": str(run_dir)}, None)
    older, newest = (run_dir / CHECKPOINTS / f"step-000000{step}" for step in ("05", "10"))
    for path in sorted(newest.iterdir()):
        content = path.read_bytes()
        for what, damaged in damages(content, chance):
            path.write_bytes(damaged)
            row.expect(_falls_back(newest.parent, older), f"{path.name}: {what}")
        path.write_bytes(content)
    for what, damaged in damages((run_dir / generator_file.EMA_FILE).read_bytes(), chance):
        (scratch / "damaged.safetensors").write_bytes(damaged)
        row.expect(_is_refused(scratch / "damaged.safetensors"), f"generator: {what}")
    _check_resume(row, run_dir, newest)
    return row


def _check_resume(row: Row, run_dir: Path, newest: Path) -> None:
    """Resume a whole run from the older checkpoint: the damaged one is kept, and the result is the same."""
    shutil.copytree(newest, run_dir / "expected")
    (newest / "critic.safetensors").write_bytes(b"")
    attempt({"run_dir": str(run_dir), "resume": "true"}, None)
    row.expect(manifest.read_folder(newest) == manifest.read_folder(run_dir / "expected"), "resumed from the older one")
    row.expect(newest.with_name(f"{newest.name}.damaged").is_dir(), "the damaged one is kept")
