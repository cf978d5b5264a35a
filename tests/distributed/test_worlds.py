"""Any number of processes computes what one does, for every constraint and norm; known mistakes are noticed."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY, TORCHRUN_2, run, torchrun
from tests.worlds import CASES, greatest_difference

MODULE = ("-m", "tests.worlds")
# Of sums in another order, over whole gradients; in single precision of one step, since Adam makes much of rounding.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@pytest.mark.parametrize(
    ("dtype", "processes"),
    [
        ("float64", 2),
        pytest.param("float64", 4, marks=pytest.mark.slow),
        pytest.param("float32", 2, marks=pytest.mark.slow),
    ],
)
def test_gradients_and_terms_are_those_of_one_process_and_ranks_stay_equal(
    dtype: str, processes: int, tmp_path: Path
) -> None:
    assert len(CASES) == 55
    run(*PYTHON, *MODULE, "one", dtype, cwd=tmp_path)
    run(*torchrun(processes), *MODULE, "many", dtype, cwd=tmp_path)
    difference, where = greatest_difference(tmp_path / "one", tmp_path / "many")
    assert difference <= TOLERANCE[dtype], where


@dataclass(frozen=True)
class Edit:
    """A replacement of one text by another in a file of the package."""

    file: str
    text: str
    mistake: str


@dataclass(frozen=True)
class Mutant:
    """A known mistake, and the case that shows it."""

    name: str
    edits: tuple[Edit, ...]
    case: str = "gp-instance-1"


def one_edit(name: str, file: str, text: str, mistake: str, case: str = "gp-instance-1") -> Mutant:
    return Mutant(name, (Edit(file, text, mistake),), case)


BACKWARD = "                trained.scaler.backward(loss, count)\n"
MUTANTS = [
    one_edit(
        "static_graph",
        "distributed/process_group.py",
        "DistributedDataParallelKwargs(broadcast",
        "DistributedDataParallelKwargs(static_graph=True, broadcast",
        "gp-instance-2",
    ),
    one_edit(
        "the wrapped module's inside is called",
        "training/steps.py",
        "loss, metrics = trained.loss(*micro_batch)",
        'loss, metrics = getattr(trained.loss, "module", trained.loss)(*micro_batch)',
    ),
    Mutant(
        "the penalty goes backward by itself",
        (
            Edit(
                "losses/modules.py",
                "            loss = loss + self.weight * penalty\n",
                "            self.left = self.weight * penalty\n",
            ),
            Edit(
                "training/steps.py",
                BACKWARD,
                '                left = getattr(getattr(trained.loss, "module", trained.loss), "left", None)\n'
                "                _ = left is None or left.backward(retain_graph=True)\n" + BACKWARD,
            ),
        ),
    ),
    Mutant(
        "the critic is the generator's submodule, frozen after wrapping",
        (
            Edit(
                "losses/modules.py",
                "        scores, logits = self.critic(augment(fake, augmentation), labels, masks)\n",
                "        weights = list(self.held.parameters())\n"
                "        _ = [weight.requires_grad_(False) for weight in weights]\n"
                "        scores, logits = self.held(fake), None\n"
                "        _ = [weight.requires_grad_(True) for weight in weights]\n",
            ),
            Edit(
                "training/build.py",
                "    wrapped_generator_loss = _wrap(",
                "    generator_loss.held = critic\n    wrapped_generator_loss = _wrap(",
            ),
        ),
    ),
    one_edit(
        "metrics are a process's own",
        "distributed/collectives.py",
        "    total = values.clone()\n    dist.all_reduce(total)\n    return total / world().size\n",
        "    return values\n",
    ),
    one_edit(
        "BatchNorm sees its process's part",
        "distributed/sync_batchnorm.py",
        "    if world().size == 1:\n        return network\n",
        "    return network\n",
    ),
    one_edit(
        "BatchNorm's backward does not sum over processes",
        "distributed/sync_batchnorm.py",
        "        dist.all_reduce(sums)\n",
        "        sums *= world().size\n",
        "sagan-bce-1",
    ),
    one_edit(
        "every process draws the same noise",
        "training/noise.py",
        "draw(first_row=rows.start) for",
        "draw(first_row=0) for",
    ),
    one_edit(
        "dropout masks are a process's own",
        "training/noise.py",
        "table_draws.start(seed, stream,",
        "table_draws.start(seed + self.source.slices[0].start, stream,",
        "dropout-gp-2",
    ),
    one_edit(
        "only the first micro-batch is averaged",
        "training/steps.py",
        "with nullcontext() if number == count else",
        "with nullcontext() if number == 1 else",
        "gp-instance-2",
    ),
]


def plant(mutant: Mutant, folder: Path) -> None:
    """Copy the package to `folder` with the mistake in it; each replaced text must occur once."""
    shutil.copytree(REPOSITORY / "wgan_dist", folder / "wgan_dist", ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        path = folder / "wgan_dist" / edit.file
        text = path.read_text()
        assert text.count(edit.text) == 1, mutant.name
        path.write_text(text.replace(edit.text, edit.mistake))


def agrees(folder: Path, case: str) -> bool:
    """Return whether two processes of the package in `folder` agree with each other and with the correct single one."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
    run(*PYTHON, *MODULE, "one", "float64", case, cwd=folder)
    done = subprocess.run(
        [*TORCHRUN_2, *MODULE, "two", "float64", case],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=HANG_SECONDS,
    )
    if done.returncode:
        return False
    return greatest_difference(folder / "one", folder / "two")[0] <= TOLERANCE["float64"]


@pytest.mark.slow
def test_the_check_of_mutants_passes_what_is_right(tmp_path: Path) -> None:
    plant(Mutant("none", ()), tmp_path)
    assert agrees(tmp_path, "gp-instance-2")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_known_mistake_shows(mutant: Mutant, tmp_path: Path) -> None:
    plant(mutant, tmp_path)
    assert not agrees(tmp_path, mutant.case)
