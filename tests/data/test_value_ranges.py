"""The ranges of values are those of numpy on whole arrays, and levels follow them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wgan_dist.config.image_size import ImageSize
from wgan_dist.data import value_ranges as module
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.value_ranges import ValueRanges, choose_levels, robust_ranges, value_ranges
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import Levels

VALUES = np.random.default_rng(0).normal(size=(600, 3, 4, 5)).astype(np.float32) * np.array([1, 2, 3])[:, None, None]
RANGES = ValueRanges((0.0, 5.0), (9.0, 5.0))


def by_channel(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(1, 0, 2, 3).reshape(values.shape[1], -1)


def test_ranges_are_those_of_numpy_on_the_whole_array() -> None:
    found, columns = value_ranges(VALUES), by_channel(VALUES)
    assert found.low == tuple(columns.min(axis=1))
    assert found.high == tuple(columns.max(axis=1))
    robust = robust_ranges(VALUES)
    np.testing.assert_allclose([robust.low, robust.high], np.quantile(columns, [0.001, 0.999], axis=1))


def test_quantiles_of_very_many_values_are_those_of_evenly_spaced_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED_VALUES", 2000)
    found = robust_ranges(VALUES)
    rows = np.linspace(0, 599, 100).round().astype(int)
    expected = np.quantile(by_channel(VALUES[rows]), [0.001, 0.999], axis=1)
    np.testing.assert_allclose([found.low, found.high], expected)
    assert value_ranges(VALUES).high == tuple(by_channel(VALUES).max(axis=1))


@pytest.mark.parametrize(
    ("chosen", "dtype", "expected"),
    [
        ("default", "uint8", Levels("uint8", (0.0,), (255.0,))),
        ("default", "uint16", Levels("uint16", (0.0,), (65535.0,))),
        ("default", "float32", Levels("float32", (0.0, 5.0), (9.0, 6.0))),
        ("auto", "uint16", Levels("uint16", (0.0, 5.0), (9.0, 6.0))),
        ("robust", "float32", Levels("float32", (0.0, 5.0), (9.0, 6.0))),
        ((-2.0, 3.0), "float32", Levels("float32", (-2.0, -2.0), (3.0, 3.0))),
    ],
)
def test_levels_follow_the_setting(chosen: str | tuple[float, float], dtype: str, expected: Levels) -> None:
    assert choose_levels(chosen, dtype, RANGES) == expected


@pytest.mark.parametrize("chosen", [(-1.0, 100.0), (0.0, 256.0)])
def test_levels_outside_of_an_integer_type_are_refused(chosen: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="expected levels from 0 to 255 for uint8 values"):
        choose_levels(chosen, "uint8", RANGES)


def test_quantiles_are_computed_only_for_robust_levels_also_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = VALUES.astype(np.float32)
    np.save(tmp_path / "a.npy", values)

    def levels_of(chosen: str) -> Levels:
        settings = ImageSettings(ImageSize(4, 5), levels=chosen, axes="nchw")
        return open_images((str(tmp_path / "a.npy"),), settings, str(tmp_path / "cache")).levels

    with monkeypatch.context() as without:
        without.setattr(np, "quantile", None)
        ranges = value_ranges(values)
        assert levels_of("auto") == Levels("float32", ranges.low, ranges.high)
    robust = robust_ranges(values)
    assert levels_of("robust") == Levels("float32", robust.low, robust.high)
    assert levels_of("auto") == Levels("float32", ranges.low, ranges.high)
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 1
