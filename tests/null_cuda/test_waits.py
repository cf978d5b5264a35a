"""The host launches the work of a step on the null CUDA device and never waits for it."""

from collections import Counter
from pathlib import Path

import pytest

from tests.null_cuda.cases import GRADIENT_PENALTIES, MODES, SMALL, Settings
from tests.null_cuda.test_steps import WORLD_SIZES, take_steps

# Whatever else draws noise, reads a value back or changes how a step is computed.
OPTIONS: dict[str, Settings] = {
    "flip": {"flip": "true"},
    "16 bits": {"levels": "auto", "channels": "2", "flip": "true"},
    "a projection": {"labels": "auto", "class_balance": "true", "accumulation": "2"},
    "an auxiliary classifier": {"labels": "auto", "critic_labels": "acgan", "mixed_precision": "bf16"},
    "a label map": {"labels": "auto", "critic_labels": "concat", "generator_labels": "embedding"},
    "accumulation": {"accumulation": "2"},
    "reused latents": {"reuse_latents": "true"},
    "dropout": {"generator": "upsample", "critic": "upsample"},
    "torch's operations": {"fast_ops": "false"},
    "TF32": {"tf32": "true"},
    "orthonormal layers": {"critic": "lipschitz", "penalty": "none"},
}
RMSPROP = {"penalty": "clip", "optimizer": "rmsprop"}
CASES = {penalty: {"penalty": penalty} for penalty in GRADIENT_PENALTIES} | dict(MODES) | OPTIONS
# DistributedDataParallel waits for its own timers in its first ten iterations, and later in one of a hundred.
UNTIMED = {"max_steps": "12"}

UPDATES = 3  # in two critic iterations and a generator step

Waits = dict[str, Counter[str]]


@pytest.fixture(scope="module", params=WORLD_SIZES)
def waits(library: Path, request: pytest.FixtureRequest) -> Waits:
    """What the host waits for in a step of each case."""
    cases = {name: SMALL | UNTIMED | settings for name, settings in (CASES | {"rmsprop": RMSPROP}).items()}
    return {name: Counter(found["waits"]) for name, found in take_steps(library, cases, request.param).items()}


def test_the_host_never_waits_in_a_step(waits: Waits) -> None:
    assert {name: waits[name] for name in CASES if waits[name]} == {}


def test_rmsprop_reads_once_in_each_update_whether_to_skip_it(waits: Waits) -> None:
    # Torch's RMSprop has no argument for it, as the fused Adam has.
    assert waits["rmsprop"] == {"cudaMemcpyAsync of 4 bytes": UPDATES, "cudaStreamSynchronize of 0 bytes": UPDATES}
