"""Draws from tables: by torch on any device, by numpy on a CPU, and by plain Python; the tables."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from tests.utils.test_rng import SEEDS, WORD, philox_block, words
from wgan_dist.utils import rng, table_draws
from wgan_dist.utils.table_draws import TABLE_SIZE

CPU, OTHER = torch.device("cpu"), torch.device("meta")
NUMBERS = torch.arange(TABLE_SIZE)
BLOCKS = st.integers(0, 2**62)
WORDS = st.integers(0, WORD - 1)
by_torch = table_draws.lookup_by(table_draws.table_blocks)


def signed(word: int) -> int:
    return word - WORD if word >= WORD // 2 else word


@settings(deadline=None, max_examples=100)
@example(keys=[(WORD - 1, WORD - 1)], block=2**62, skip=15, count=50)  # products with carries between all halves
@example(keys=[(0, 0)], block=0, skip=0, count=16)
@given(
    keys=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3),
    block=BLOCKS,
    skip=st.integers(0, 15),
    count=st.integers(1, 50),
)
def test_torch_and_numpy_draw_the_halfwords_of_the_published_definition(
    keys: list[tuple[int, int]], block: int, skip: int, count: int
) -> None:
    starts = torch.tensor([[signed(key[0]), signed(key[1]), block + number, 0] for number, key in enumerate(keys)])
    expected = [
        [
            word >> shift & 0xFFFF
            for offset in range(5)
            for word in philox_block(key, block + number + offset + 1)
            for shift in (0, 16, 32, 48)
        ][skip : skip + count]
        for number, key in enumerate(keys)
    ]
    for look_up in (by_torch, table_draws.look_up_on_cpu):
        assert look_up(starts, NUMBERS, skip, count).tolist() == expected


@given(SEEDS, st.text(max_size=9), st.integers(0, 2**40))
def test_a_draw_starts_at_its_key_and_block(seed: int, stream: str, counter: int) -> None:
    start = torch.from_numpy(table_draws.start(seed, stream, counter, 1)).unsqueeze(0)
    first = list(islice(words(seed, stream, counter), 4, 8))  # the second block
    assert by_torch(start, NUMBERS, 0, 16)[0, ::4].tolist() == [word & 0xFFFF for word in first]


@pytest.mark.parametrize("rate", [0.0, 2.0**-17, 0.2, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_a_dropout_table_are_the_factors_of_what_is_kept(rate: float, dtype: torch.dtype) -> None:
    start = torch.from_numpy(table_draws.start(3, "dropout", 5, 2)).unsqueeze(0)
    table = table_draws.dropout_table(rate, dtype)
    kept = torch.from_numpy(rng.keep(3, "dropout", 5, (999,), rate, first_row=2 * 16 + 7))
    expected = kept.to(dtype).mul_(1.0 / (1.0 - rate))
    for look_up in (by_torch, table_draws.look_up_on_cpu):
        assert torch.equal(look_up(start, table, 7, 999)[0], expected)


def normal_moment(table: Tensor, power: int) -> float:
    return float((table**power).mean())


def test_the_normal_table_has_the_quantiles_and_moments_of_the_normal_distribution() -> None:
    table = table_draws.normal_table(1.0, torch.float64)
    places = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    np.testing.assert_allclose(table.numpy(), stats.norm.ppf(places), rtol=0, atol=1e-14)
    assert torch.equal(table, -table.flip(0))
    assert normal_moment(table, 2) == pytest.approx(0.99998, abs=5e-6)
    assert normal_moment(table, 4) == pytest.approx(3.0, rel=1e-3)
    assert float(table.abs().max()) == pytest.approx(4.325, abs=5e-4)


def test_the_normal_table_is_scaled_and_then_rounded() -> None:
    exact = table_draws.normal_table(1.0, torch.float64)
    assert torch.equal(table_draws.normal_table(0.3, torch.float64), 0.3 * exact)
    assert torch.equal(table_draws.normal_table(0.3, torch.float32), (0.3 * exact).float())


def test_values_of_the_normal_table_are_normal_and_independent() -> None:
    starts = torch.from_numpy(np.stack([table_draws.start(0, "delta", number, 0) for number in range(2000)]))
    drawn = table_draws.look_up_on_cpu(starts, table_draws.normal_table(2.0, torch.float64), 0, 10)
    assert stats.kstest(drawn.flatten().numpy(), stats.norm(scale=2.0).cdf).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T.numpy()) - np.eye(10)).max() < 4 / 2000**0.5


def test_a_cpu_looks_up_by_numpy() -> None:
    assert table_draws.lookup_for(CPU, torch.float32, pytest.fail) is table_draws.look_up_on_cpu


def test_a_device_without_a_compiler_looks_up_by_single_operations_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def compile(*arguments: object, **options: object) -> object:
        def compiled(starts: Tensor, table: Tensor, blocks: int) -> Tensor:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    look_up = table_draws.lookup_for(OTHER, torch.float32, said.append)
    starts = torch.from_numpy(table_draws.start(3, "dropout", 5, 2)).unsqueeze(0)
    assert torch.equal(look_up(starts, NUMBERS, 3, 40), table_draws.look_up_on_cpu(starts, NUMBERS, 3, 40))
    assert len(said) == 1
    assert said[0].endswith("none could be compiled: Failed to find C compiler.")
    assert "\n" not in said[0]
