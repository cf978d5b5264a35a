import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from export import sampler
from wgan_dist.utils import rng

Draw = Callable[[int, str, int, tuple[int, ...]], NDArray[np.float64]]
DRAWS = pytest.mark.parametrize("draw", [rng.normal, rng.uniform])
LATENTS = json.loads((Path(__file__).parents[1] / "fixtures" / "latents.json").read_text())
EACH_LATENT = pytest.mark.parametrize("case", LATENTS, ids=lambda case: f"{case['distribution']}-{case['seed']}")

SEEDS, COUNTERS = st.integers(0, 2**63 - 1), st.integers(0, 2**40)
WORD = 2**64
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox_block(key: tuple[int, int], counter: int) -> list[int]:
    """Return a block of Philox4x64-10 (Salmon et al. 2011, §3.3), four 64-bit words, in plain Python."""
    x, k = [counter, 0, 0, 0], list(key)
    for _ in range(10):
        (high0, low0), (high1, low1) = divmod(MULTIPLIERS[0] * x[0], WORD), divmod(MULTIPLIERS[1] * x[2], WORD)
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0]
        k = [(k[0] + WEYL[0]) % WORD, (k[1] + WEYL[1]) % WORD]
    return x


def philox_key(seed: int, stream: str, counter: int) -> tuple[int, int]:
    digest = hashlib.sha256(f"{seed}/{stream}/{counter}".encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def words(seed: int, stream: str, counter: int) -> Iterator[int]:
    """Yield the words of a draw; numpy counts before its first block."""
    key = philox_key(seed, stream, counter)
    return itertools.chain.from_iterable(philox_block(key, number) for number in itertools.count(1))


def uniforms(seed: int, stream: str, counter: int) -> Iterator[float]:
    return ((word >> 11) / 2**53 for word in words(seed, stream, counter))


def normals(seed: int, stream: str, counter: int) -> Iterator[float]:
    """Yield normal draws by Box and Muller 1958, one pair of uniforms at a time."""
    unit = uniforms(seed, stream, counter)
    for u, v in zip(unit, unit, strict=False):
        radius = math.sqrt(-2 * math.log1p(-u))
        yield radius * math.cos(2 * math.pi * v)
        yield radius * math.sin(2 * math.pi * v)


def latents(distribution: str, seed: int, latent_dim: int, count: int) -> NDArray[np.float32]:
    """Return the latents that `sample` and the exported sampler must draw; it wrote fixtures/latents.json."""
    stream = "sample.z", 0
    draws = normals(seed, *stream) if distribution == "normal" else (2 * u - 1 for u in uniforms(seed, *stream))
    return np.array(list(islice(draws, count * latent_dim)), np.float32).reshape(count, latent_dim)


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.text(max_size=20), COUNTERS, st.integers(0, 11))
def test_draws_are_those_of_the_published_definition(seed: int, stream: str, counter: int, count: int) -> None:
    uniform, normal = uniforms(seed, stream, counter), normals(seed, stream, counter)
    assert rng.uniform(seed, stream, counter, (count,)).tolist() == list(islice(uniform, count))
    expected = pytest.approx(list(islice(normal, count)), rel=1e-13, abs=1e-13)
    assert rng.normal(seed, stream, counter, (count,)).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(SEEDS, COUNTERS, st.integers(1, 50))
def test_a_permutation_is_the_order_of_the_words(seed: int, counter: int, size: int) -> None:
    keys = list(islice(words(seed, "order", counter), size))
    expected = sorted(range(size), key=keys.__getitem__)
    assert rng.permutation(seed, "order", counter, size).tolist() == expected


def test_an_integer_is_the_upper_63_bits_of_the_first_word() -> None:
    assert rng.integer(3, "weights") == next(words(3, "weights", 0)) // 2


@pytest.mark.parametrize(
    "draw",
    [
        rng.uniform,
        rng.normal,
        functools.partial(rng.latent, "uniform"),
        functools.partial(rng.latent, "normal"),
        functools.partial(rng.keep, rate=0.3),
    ],
    ids=["uniform", "normal", "uniform latent", "normal latent", "keep"],
)
@settings(deadline=None, max_examples=100)
@given(data=st.data(), seed=SEEDS, width=st.lists(st.integers(1, 5), max_size=2), rows=st.integers(1, 40))
def test_the_rows_of_a_part_are_those_of_the_whole(
    draw: Callable[..., NDArray[Any]], data: st.DataObject, seed: int, width: list[int], rows: int
) -> None:
    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - first))
    whole, part = draw(seed, "z", 3, (rows, *width)), draw(seed, "z", 3, (count, *width), first_row=first)
    assert part.tolist() == whole[first : first + count].tolist()


@pytest.mark.parametrize("first", [2**30, 2**41 + 5])
def test_a_draw_far_into_its_stream_is_that_of_the_published_definition(first: int) -> None:
    """Nothing between the start of the stream and the draw is computed, and positions do not overflow."""
    block, skip = divmod(first, 4)
    key = philox_key(7, "z", 1)
    expected = [word for number in (block, block + 1) for word in philox_block(key, number + 1)][skip : skip + 4]
    assert rng.uniform(7, "z", 1, (4,), first).tolist() == [(word >> 11) / 2**53 for word in expected]


@DRAWS
def test_every_argument_changes_every_draw(draw: Draw) -> None:
    arguments = [(0, "z", 0), (1, "z", 0), (0, "alpha", 0), (0, "z", 1), (1, "z", 1), (10, "z", 0), (0, "z", 10)]
    drawn = np.stack([draw(*draw_arguments, (100,)) for draw_arguments in arguments])
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize(("draw", "distribution"), [(rng.normal, stats.norm), (rng.uniform, stats.uniform)])
def test_draws_have_their_distribution(draw: Draw, distribution: Any) -> None:
    # Two thousand streams of ten: their first draws must be as random together as those of one stream are.
    drawn = np.stack([draw(0, "z", counter, (10,)) for counter in range(2000)])
    assert stats.kstest(drawn.reshape(-1), distribution.cdf).pvalue > 0.01
    assert stats.kstest(drawn[:, 0], distribution.cdf).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T) - np.eye(10)).max() < 4 / math.sqrt(2000)


@settings(deadline=None, max_examples=50)
@given(SEEDS, COUNTERS, st.integers(0, 11), st.floats(0, 1))
def test_what_is_kept_is_decided_by_sixteen_bits_each_the_lowest_first(
    seed: int, counter: int, count: int, rate: float
) -> None:
    pieces = (word >> shift & 0xFFFF for word in words(seed, "dropout", counter) for shift in (0, 16, 32, 48))
    expected = [piece / 2**16 >= round(rate * 2**16) / 2**16 for piece in islice(pieces, count)]
    assert rng.keep(seed, "dropout", counter, (count,), rate).tolist() == expected


@pytest.mark.parametrize("rate", [0.0, 2.0**-12, 0.2, 0.3, 0.5, 0.9, 1.0])
def test_dropout_keeps_one_minus_its_rate(rate: float) -> None:
    kept = rng.keep(0, "dropout", 0, (1000, 20, 50), rate)
    assert kept.shape == (1000, 20, 50)
    # Five standard errors of a million draws, and the rounding to one part in 65536.
    allowed = 5 * math.sqrt(rate * (1 - rate) / kept.size) + 2.0**-17
    assert kept.mean() == pytest.approx(1 - rate, abs=allowed)


def test_what_is_kept_is_independent_from_draw_to_draw_and_from_counter_to_counter() -> None:
    kept = np.stack([rng.keep(0, "dropout", counter, (8,), 0.3) for counter in range(2000)])
    assert abs(np.corrcoef(kept.T) - np.eye(8)).max() < 4 / math.sqrt(2000)
    pairs = [tuple(row) for row in kept[:-1, :1] * 2 + kept[1:, :1]]
    expected = [0.09, 0.21, 0.21, 0.49]
    counts = [pairs.count((value,)) for value in range(4)]
    assert stats.chisquare(counts, np.array(expected) * len(pairs)).pvalue > 0.01


def test_uniform_latents_fill_the_range_from_minus_one_to_one() -> None:
    z = rng.latent("uniform", 0, "z", 0, (1000, 3))
    assert -1 <= z.min() < -0.99
    assert 0.99 < z.max() < 1


def test_an_unknown_distribution_of_latents_is_refused() -> None:
    with pytest.raises(ValueError, match="^latent_distribution=zipf: expected normal or uniform$"):
        rng.latent("zipf", 0, "z", 0, (1, 3))


def test_normal_latents_are_normal_draws() -> None:
    assert (rng.latent("normal", 5, "z", 2, (4, 3)) == rng.normal(5, "z", 2, (4, 3))).all()


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(0, 300))
def test_a_permutation_holds_each_index_once(seed: int, size: int) -> None:
    assert sorted(rng.permutation(seed, "order", 0, size)) == list(range(size))


def test_every_order_of_three_is_equally_likely() -> None:
    orders = [tuple(rng.permutation(0, "order", epoch, 3)) for epoch in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


@EACH_LATENT
def test_the_committed_latents_are_those_of_the_definition(case: dict[str, Any]) -> None:
    expected = latents(case["distribution"], case["seed"], case["latent_dim"], case["count"])
    assert expected.tolist() == case["latents"]


@pytest.mark.parametrize("count", [4, 3])  # of three, the ninth number is half a pair
@EACH_LATENT
def test_training_and_the_exported_sampler_draw_the_committed_latents(case: dict[str, Any], count: int) -> None:
    distribution, seed, shape = case["distribution"], case["seed"], (count, case["latent_dim"])
    expected = np.array(case["latents"][:count], np.float32)
    ours = rng.latent(distribution, seed, "sample.z", 0, shape).astype(np.float32)
    exported = sampler.latents(*shape, distribution, seed)
    assert (ours == expected).all()
    assert (exported == expected).all()
    assert exported.dtype == np.float32
