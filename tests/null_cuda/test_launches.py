"""Few kernels and device copies are launched in a step on the null CUDA device."""

from pathlib import Path

from tests.null_cuda.cases import full_size
from tests.null_cuda.test_steps import take_steps

# The tutorial's loop, with the fused optimizer, launches 493 and 105.
MOST_IN_CRITIC_ITERATION, MOST_IN_GENERATOR_STEP = 300, 110


def test_launches_of_dcgan_at_64_pixels(library: Path) -> None:
    counts = take_steps(library, {"dcgan": full_size("dcgan", "float32")})["dcgan"]
    assert counts["critic"] <= MOST_IN_CRITIC_ITERATION
    assert counts["generator"] <= MOST_IN_GENERATOR_STEP
