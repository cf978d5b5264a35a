"""Two processes compute what one does: BatchNorm, whole runs, and the same errors."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.faults.tiny import assert_same_run
from tests.processes import ACCELERATE_2, PYTHON, TORCHRUN_2, apart, metrics, run, torchrun
from wgan_dist.checkpoints.generator_file import RAW_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.utils.errors import UserError

STEPS = 10


@given(length=st.integers(1, 5), accumulation=st.integers(1, 4), size=st.integers(1, 8))
def test_shares_tile_the_batch_in_order(length: int, accumulation: int, size: int) -> None:
    batch = list(range(length * accumulation * size))
    mine = [micro_batch_slices(len(batch), accumulation, World(rank, size)) for rank in range(size)]
    assert [
        index for micro in range(accumulation) for rank in range(size) for index in batch[mine[rank][micro]]
    ] == batch


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size=30: expected a multiple of 8 \(4 processes × accumulation 2\)"):
        micro_batch_slices(30, 2, World(0, 4))


# Run by every process; the first prints. Compares GlobalBatchNorm on its share with torch's own on the whole batch.
BATCHNORM = """
import torch
from torch import nn
from wgan_dist import distributed

distributed.start(None)
world = distributed.world()
worst = {}
for name, norm, shape in [("2d", nn.BatchNorm2d(3), (8, 3, 4, 4)), ("1d", nn.BatchNorm1d(3, eps=0.8), (8, 3))]:
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    weighting = torch.randn(*shape, generator=generator, dtype=torch.float64)
    norm = norm.double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(3, generator=generator)); norm.bias.copy_(torch.randn(3, generator=generator))
    import copy
    alone, ours = copy.deepcopy(norm), distributed.synchronise_batchnorm(nn.Sequential(copy.deepcopy(norm)))
    assert type(ours[0]).__name__ == "GlobalBatchNorm"
    mine = distributed.micro_batch_slices(8, 1, world)[0]
    whole = x.clone().requires_grad_(); part = x[mine].clone().requires_grad_()
    expected, found = alone(whole), ours(part)
    (expected * weighting).sum().backward(); (found * weighting[mine]).sum().backward()
    difference = lambda a, b: float((a - b).abs().max())
    worst[name] = max(
        difference(expected[mine], found),
        difference(whole.grad[mine], part.grad),
        difference(alone.weight.grad, world.size * distributed.all_reduce_mean(ours[0].weight.grad)),
        difference(alone.bias.grad, world.size * distributed.all_reduce_mean(ours[0].bias.grad)),
        difference(alone.running_mean, ours[0].running_mean),
        difference(alone.running_var, ours[0].running_var),
        difference(alone.num_batches_tracked, ours[0].num_batches_tracked),
        difference(alone.eval()(x), ours.eval()(x)),
    )
if world.is_main:
    words = distributed._words
    print("WORST", max(worst.values()), world.size, len(words), sum(each.round for each in words))
assert distributed.all_reduce_max(world.rank) == 1
distributed.leave()
"""


@pytest.mark.parametrize(("launcher", "memories"), [(TORCHRUN_2, 1), (apart(2), 0)])
def test_global_batchnorm_equals_torchs_own_over_the_whole_batch(
    launcher: tuple[str, ...], memories: int, tmp_path: Path
) -> None:
    (tmp_path / "batchnorm.py").write_text(BATCHNORM)
    done = run(*launcher, "batchnorm.py", cwd=tmp_path)
    _, worst, size, words, rounds = next(line for line in done.stdout.splitlines() if line.startswith("WORST")).split()
    assert (int(size), int(words)) == (2, memories)
    assert bool(int(rounds)) == bool(memories)
    assert float(worst) < 1e-12


def train_with(launcher: tuple[str, ...], settings: dict[str, str], folder: Path, cwd: Path) -> str:
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return run(*launcher, "-m", "wgan_dist.train", *flags, f"--run_dir={folder}", cwd=cwd).stdout


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        (TORCHRUN_2, {}),
        (
            ACCELERATE_2,
            {"accumulation": "2", "critic_norm": "layer", "penalty": "lp", "real_batch_per": "generator"}
            | {"flip": "true"},
        ),
        # BatchNorm in both networks, spectral norm, attention.
        (TORCHRUN_2, {"generator": "sagan", "critic": "sagan", "spectral_norm": "both", "penalty": "none"}),
        # Dropout, noise around real images, two batch sizes.
        (
            TORCHRUN_2,
            {"generator": "upsample", "critic": "upsample", "penalty": "dragan", "loss": "bce"}
            | {"generator_batch_size": "64", "accumulation": "2"},
        ),
    ],
    ids=["torchrun", "accelerate", "batchnorm_in_the_critic", "dropout"],
)
def test_two_processes_train_the_network_that_one_does(
    launcher: tuple[str, ...], settings: dict[str, str], tiny: dict[str, str], tmp_path: Path
) -> None:
    every = {
        "dtype": "float64",
        "max_steps": str(STEPS),
        "checkpoint_every": "0",
        "evaluate_every": "5",
        "log_every": "1",
    }
    both = tiny | every | settings
    one = train_with((*PYTHON,), both, tmp_path / "one", tmp_path)
    two = train_with(launcher, both, tmp_path / "two", tmp_path)
    assert one.startswith("1 process on cpu")
    assert "2 processes on cpu" in two
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"accumulation": "2", "penalty": "lp"}], ids=["plain", "accumulation"])
def test_fifty_steps_end_alike_at_one_two_and_four_processes(
    settings: dict[str, str], tiny: dict[str, str], tmp_path: Path
) -> None:
    every = tiny | settings | {"dtype": "float64", "max_steps": "50", "checkpoint_every": "0", "log_every": "1"}
    launchers = {"one": PYTHON, "two": TORCHRUN_2, "by_accelerate": ACCELERATE_2, "four": torchrun(4)}
    for name, launcher in launchers.items():
        train_with(launcher, every, tmp_path / name, tmp_path)
        assert_same_run(tmp_path / "one", tmp_path / name)


def test_the_number_of_processes_may_change_on_resume(tiny: dict[str, str], tmp_path: Path) -> None:
    """Two, one, four: three batches an epoch, so that every part begins within one."""
    every = tiny | {"dtype": "float64", "batch_size": "512", "n_critic": "2", "log_every": "1", "checkpoint_every": "4"}
    train_with(PYTHON, every | {"max_steps": "9"}, tmp_path / "straight", tmp_path)
    train_with(TORCHRUN_2, every | {"max_steps": "4"}, tmp_path / "run", tmp_path)
    train_with(PYTHON, {"resume": "true", "max_steps": "5"}, tmp_path / "run", tmp_path)
    train_with(torchrun(4), {"resume": "true", "max_steps": "9"}, tmp_path / "run", tmp_path)
    assert_same_run(tmp_path / "straight", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [PYTHON, TORCHRUN_2], ids=["one", "two"])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [({"dtype": "float64"}, 1e-9), ({"mixed_precision": "bf16"}, 0.03)]
)
def test_compiled_objectives_compute_what_eager_ones_do(
    precision: dict[str, str], tolerance: float, launcher: tuple[str, ...], tiny: dict[str, str], tmp_path: Path
) -> None:
    """In bf16 the compiler keeps in single precision what eager rounds between operations."""
    every = tiny | precision | {"log_every": "1", "max_steps": "3", "n_critic": "2"}
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        train_with(launcher, every | {"compile": compiled}, tmp_path / name, tmp_path)
    pairs = zip(metrics(tmp_path / "eager"), metrics(tmp_path / "compiled"), strict=True)
    for record, other in pairs:
        assert record == pytest.approx(other, rel=tolerance, abs=tolerance)


def test_every_process_ends_on_an_error_of_the_first(tiny: dict[str, str], tmp_path: Path) -> None:
    flags = [f"--{name}={value}" for name, value in (tiny | {"data": "no/such/folder"}).items()]
    done = run(*TORCHRUN_2, "-m", "wgan_dist.train", *flags, cwd=tmp_path, fails=1)
    assert done.stderr.count("error: data=no/such/folder: there is no such folder") == 1
    assert list(tmp_path.iterdir()) == []


def test_autocast_keeps_weights_and_statistics_in_single_precision(
    tiny: dict[str, str], run_dir: Path, tmp_path: Path
) -> None:
    flags = [f"--{name}={value}" for name, value in (tiny | {"mixed_precision": "bf16", "run_dir": "run"}).items()]
    done = run(*TORCHRUN_2, "-m", "wgan_dist.train", *flags, cwd=tmp_path)
    assert "float32 with bf16 autocast" in done.stdout
    state = load_file(tmp_path / f"run/{CHECKPOINTS}/step-00000006/{RAW_FILE}")
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
    first, plain = metrics(tmp_path / "run")[0], metrics(run_dir)[0]
    assert first != plain
    # After two steps rounding to 8 bits has moved the penalty by percents, not more.
    assert first["gradient_penalty"] == pytest.approx(plain["gradient_penalty"], rel=0.2)


def test_the_end_of_a_process_waits_for_threads_and_runs_what_asked_to_run(tmp_path: Path) -> None:
    """Threads that wait for a word, as a compiler's, are given it."""
    script = """
import atexit, concurrent.futures
from wgan_dist import distributed
pool = concurrent.futures.ThreadPoolExecutor(1)
pool.submit(print, "worked")
atexit.register(print, "asked")
distributed.end()
"""
    assert run(*PYTHON, "-c", script, cwd=tmp_path).stdout == "worked\nasked\n"
