"""The sampler computes the network's images without torch, and refuses files that it cannot use."""

import argparse
import io
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis.strategies import floats, integers, sampled_from
from onnx import TensorProto, helper
from PIL import Image

from export.sampler import (
    ARRAYS,
    MAX_SIDE,
    PICTURES,
    TRIED_BATCH_SIZES,
    ImageValues,
    Sampler,
    SamplerError,
    _has_cuda_device,
    _number,
    _scale,
    enlarged,
    grid,
    latents,
    output_text,
    png,
    printable,
    to_uint8,
    write_images,
    write_picture,
    write_points,
)
from tests.exports import export_onnx
from tests.faults.hostile.graphs import LOOP, WEIGHT, graph
from tests.generators import small_spec, write_generator
from tests.processes import REPOSITORY, run
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import ImageSize
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings

# Makes `import torch` fail as on a machine without it.
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; sys.modules['wgan_dist'] = None; "
WITHOUT_PILLOW = WITHOUT_TORCH + "sys.modules['PIL'] = None; "


def test_sampler_equals_the_network(onnx_file: Path, run_dir: Path) -> None:
    sampler = Sampler(onnx_file)
    network = generator_file.load(generator_file.locate(str(run_dir), "ema")).network
    with torch.no_grad():
        expected = network(torch.from_numpy(sampler.latents(70, seed=5)))
    levels = ((expected.double() + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    drawn = sampler.sample(70, seed=5)
    assert drawn.shape == (70, 32, 32, 1)
    assert drawn.dtype == np.uint8
    # Rounding of a value within float error of a half may go either way.
    assert np.abs(drawn - levels).max() <= 1
    assert (drawn == levels).mean() > 0.999


def test_the_first_images_of_a_seed_do_not_depend_on_the_count(onnx_file: Path) -> None:
    sampler = Sampler(onnx_file)
    assert (sampler.sample(40, seed=3)[:7] == sampler.sample(7, seed=3)).all()
    assert (sampler.sample(7, seed=3) != sampler.sample(7, seed=4)).any()


def test_it_samples_without_torch_and_without_the_package(onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "sampler.py").write_text((REPOSITORY / "export/sampler.py").read_text())
    code = WITHOUT_TORCH + f"from sampler import Sampler; print(Sampler({str(onnx_file)!r}).sample(3, seed=1).sum())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(Sampler(onnx_file).sample(3, seed=1).sum())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_files_hold_the_pixels(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    with Image.open(io.BytesIO(png(picture))) as found:
        assert found.format == "PNG"
        assert (np.asarray(found).reshape(picture.shape) == picture).all()
        assert found.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]


def test_without_pillow_a_grid_is_written_as_png_and_another_format_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    main = WITHOUT_PILLOW + "import runpy; runpy.run_module('export.sampler', run_name='__main__')"
    command = (sys.executable, "-c", main, str(onnx_file), "--count=10", "--seed=2")
    run(*command, "--out=grid.png", cwd=tmp_path)
    found = np.asarray(Image.open(tmp_path / "grid.png"))
    assert (found == enlarged(grid(Sampler(onnx_file).sample(10, seed=2))).squeeze(-1)).all()
    done = run(*command, "--out=grid.jpg", cwd=tmp_path, fails=2)
    assert done.stderr == "error: .jpg files need Pillow: pip install pillow; .png needs nothing\n"
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_command_line_without_torch_writes_the_same_grid_as_the_sampler(onnx_file: Path, tmp_path: Path) -> None:
    main = WITHOUT_TORCH + "import runpy; runpy.run_module('export.sampler', run_name='__main__')"
    done = run(sys.executable, "-c", main, str(onnx_file), "--count=10", "--seed=2", "--out=grid.png", cwd=tmp_path)
    assert "CPUExecutionProvider" in done.stdout
    assert (
        np.asarray(Image.open(tmp_path / "grid.png"))
        == enlarged(grid(Sampler(onnx_file).sample(10, seed=2))).squeeze(-1)
    ).all()


def test_single_files_hold_the_images_in_order(onnx_file: Path, tmp_path: Path) -> None:
    images = Sampler(onnx_file).sample(3)
    paths = list(write_images(images, f"{tmp_path}/single/"))
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    assert all(
        (np.asarray(Image.open(path)) == image.squeeze(-1)).all() for path, image in zip(paths, images, strict=True)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_tiff_holds_every_value(dtype: str, channels: int, count: int, tmp_path: Path) -> None:
    most = {"uint8": 256, "uint16": 65536, "float32": 1e-6}[dtype]
    images = (np.random.default_rng(channels).random((count, 9, 10, channels)) * most).astype(dtype)
    values = ImageValues(dtype, (0.0,), (float(most),), tuple("√bcde"[:channels]), "K·m²")
    assert list(write_images(images, f"{tmp_path}/new/a.TIFF", values=values)) == [tmp_path / "new" / "a.TIFF"]
    expected = images.transpose(0, 3, 1, 2)
    found = tifffile.imread(tmp_path / "new" / "a.TIFF")
    assert found.dtype == dtype
    assert np.array_equal(found, expected)
    with tifffile.TiffFile(tmp_path / "new" / "a.TIFF") as tiff:
        assert (len(tiff.pages), tiff.series[0].axes) == (count, "QCYX")
        about = json.loads(tiff.pages.first.description)
        assert (about["channel_names"], about["unit"]) == (list(values.channel_names), "K·m²")
    settings = ImageSettings(ImageSize(9, 10), channels=channels, resize="none")
    pixels = open_images((f"{tmp_path}/new/a.TIFF",), settings, f"{tmp_path}/cache").pixels
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_other_programs_show_a_tiff_of_8_bits_in_its_colours(channels: int, mode: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 3, channels), np.uint8)
    list(write_images(images, f"{tmp_path}/a.tif"))
    with Image.open(tmp_path / "a.tif") as found:
        assert (found.mode, getattr(found, "n_frames", 1)) == (mode, 2)
        found.seek(1)
        assert np.array_equal(np.asarray(found).reshape(images[1].shape), images[1])


def test_without_tifffile_a_tiff_is_refused_before_anything_is_sampled(onnx_file: Path, tmp_path: Path) -> None:
    main = "import runpy, sys; sys.modules['tifffile'] = None; runpy.run_module('export.sampler', run_name='__main__')"
    command = (sys.executable, "-c", main, str(onnx_file), f"--count={10**15}", "--out=a.tif")
    done = run(*command, cwd=tmp_path, fails=2)
    assert done.stderr == "error: TIFF files need tifffile: pip install tifffile; .npy needs nothing\n"
    assert list(tmp_path.iterdir()) == []


def test_uint8_values_are_rounded_to_nearest_and_clipped() -> None:
    values = np.array([-1.5, -1.0, 0.0, 1 / 127.5 - 1 + 1e-6, 1.0, 2.0], np.float32).reshape(1, 1, 1, 6)
    assert to_uint8(values).ravel().tolist() == [0, 0, 128, 1, 255, 255]


@given(
    arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=9), elements=floats(-2, 2, width=32)),
    integers(1, 40),
)
def test_uint8_values_do_not_depend_on_the_block_size(images: np.ndarray, block: int) -> None:
    expected = np.rint((images + 1.0) * 127.5).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.sampler.BLOCK", block)
        found = to_uint8(images)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@given(integers(1, 9), integers(1, 9), integers(0, 30), sampled_from(["normal", "uniform"]), integers(0, 9))
def test_latents_can_start_at_any_number(count: int, latent_dim: int, start: int, distribution: str, seed: int) -> None:
    every = latents(start + count, latent_dim, distribution, seed)
    np.testing.assert_array_equal(latents(count, latent_dim, distribution, seed, start), every[start:])


def test_a_stream_tries_batch_sizes_and_keeps_one(onnx_file: Path) -> None:
    sampler = Sampler(onnx_file)
    count = 2 * sum(TRIED_BATCH_SIZES)
    batches = list(sampler.stream(count, seed=5))
    sizes = [len(batch) for batch in batches]
    assert tuple(sizes[: len(TRIED_BATCH_SIZES)]) == TRIED_BATCH_SIZES
    assert sampler.batch_size in TRIED_BATCH_SIZES
    assert set(sizes[len(TRIED_BATCH_SIZES) : -1]) == {sampler.batch_size}
    drawn = np.concatenate(batches)
    assert len(drawn) == count
    whole = Sampler(onnx_file, batch_size=count).sample(count, seed=5)
    assert np.abs(drawn.astype(int) - whole).max() <= 1
    assert (drawn == whole).mean() > 0.999


def test_the_fastest_batch_size_per_image_is_kept(onnx_file: Path) -> None:
    sampler = Sampler(onnx_file)
    for size, seconds in zip(TRIED_BATCH_SIZES, (9.0, 0.8, 9.0, 1.6, 9.0, 12.8), strict=True):
        assert sampler.batch_size == 0
        sampler._record_time(size - 1, 0.0)  # a last batch that is smaller
        sampler._record_time(size, seconds)
    assert sampler.batch_size == 32


def test_threads_that_start_together_agree_on_a_batch_size(onnx_file: Path) -> None:
    """The threads run what a stream does between batches, and switch as often as possible."""

    def search(sampler: Sampler, start: threading.Barrier) -> None:
        start.wait()
        for _ in range(4 * len(TRIED_BATCH_SIZES)):
            sampler._record_time(sampler._next_batch_size(), 1.0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(400):
                sampler, start = Sampler(onnx_file, "cpu", threads=1), threading.Barrier(8)
                for each in [pool.submit(search, sampler, start) for _ in range(8)]:
                    each.result()
                assert len(sampler._timings) == len(TRIED_BATCH_SIZES)
                assert sampler.batch_size in TRIED_BATCH_SIZES
    finally:
        sys.setswitchinterval(interval)


def test_a_stream_allocates_no_memory_for_later_images(onnx_file: Path) -> None:
    stream = Sampler(onnx_file, batch_size=3).stream(10**15, seed=2)
    found = [next(stream) for _ in range(2)]
    assert [batch.shape for batch in found] == [(3, 32, 32, 1)] * 2
    np.testing.assert_array_equal(np.concatenate(found), Sampler(onnx_file).sample(6, seed=2))


def test_a_given_batch_size_is_used_and_checked(onnx_file: Path) -> None:
    assert [len(batch) for batch in Sampler(onnx_file, batch_size=5).stream(12)] == [5, 5, 2]
    with pytest.raises(SamplerError, match="^batch_size=-1: expected at least 0$"):
        Sampler(onnx_file, batch_size=-1)


def test_outputs_bound_to_a_device_are_the_same(onnx_file: Path) -> None:
    """The code path of the CUDA provider, on the CPU."""
    sampler = Sampler(onnx_file)
    inputs = {"z": sampler.latents(5, seed=1)}
    np.testing.assert_array_equal(sampler._run_bound(inputs, "cpu"), sampler._run(inputs))


def test_grid_places_images_row_by_row() -> None:
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    picture = grid(images)
    assert picture.shape == (3 * 2 + 2 * 2, 2 * 3 + 2, 1)
    assert picture[::4, ::5, 0].tolist() == [[1, 2], [3, 4], [5, 0]]
    assert picture[4:6, 5:8, 0].tolist() == [[4, 4, 4]] * 2
    assert (picture[2:4] == 0).all()
    assert (picture[:, 3:5] == 0).all()


def test_the_driver_finds_a_device_where_torch_does() -> None:
    """The probe calls libcuda by ctypes, which torch is independent of."""
    assert _has_cuda_device() == torch.cuda.is_available()


@pytest.mark.parametrize("provider", ["cuda", "CUDAExecutionProvider", "nonsense"])
def test_an_absent_provider_is_refused_not_replaced(onnx_file: Path, provider: str) -> None:
    if torch.cuda.is_available() and provider != "nonsense":
        pytest.skip("this machine has the provider")
    with pytest.raises(SamplerError, match=r"provider="):
        Sampler(onnx_file, provider=provider)


def test_wrong_latents_and_counts_are_refused(onnx_file: Path) -> None:
    sampler = Sampler(onnx_file)
    with pytest.raises(SamplerError, match=r"\[2, 9\]: expected \[n, 8\]"):
        sampler.images(np.zeros((2, 9), np.float32))
    for count, seed, said in (
        (0, 0, "count=0: expected at least 1"),
        (1, -1, "seed=-1: expected at least 0"),
        (1, 1.0, "seed=1.0: expected a whole number"),
        ("3", 1, "count='3': expected a whole number"),
    ):
        with pytest.raises(SamplerError, match=f"^{said}$"):
            sampler.sample(count, seed)  # type: ignore[arg-type]
    assert (sampler.sample(np.int64(2), np.int64(3)) == sampler.sample(2, 3)).all()  # type: ignore[arg-type]


def test_a_folder_ends_in_a_separator_or_exists(tmp_path: Path) -> None:
    images = np.zeros((2, 2, 2, 3), np.uint8)
    assert len(list(write_images(images, f"{tmp_path}/my.images/"))) == 2
    (tmp_path / "run.png").mkdir()
    assert len(list(write_images(images, f"{tmp_path}/run.png"))) == 2
    assert list(write_images(images, f"{tmp_path}/grid.JPG")) == [tmp_path / "grid.JPG"]


@pytest.mark.parametrize(("text", "scale"), [("auto", 0), ("1", 1), ("32", 32)])
def test_the_scale_of_the_command_line_is_a_factor_or_auto(text: str, scale: int) -> None:
    assert _scale(text) == scale


@pytest.mark.parametrize("text", ["0", "-1", "33", "1.5", "x", "²"])
def test_another_scale_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text}: expected auto, or a whole number from 1 to 32"):
        _scale(text)


def test_a_grid_is_enlarged_and_single_images_are_not(tmp_path: Path) -> None:
    images = np.arange(4 * 100 * 100, dtype=np.uint8).reshape(4, 100, 100, 1)
    (path,) = write_images(images, f"{tmp_path}/grid.png")
    with Image.open(path) as picture:
        assert picture.size == (606, 606)
    (path,) = write_images(images, f"{tmp_path}/grid.png", 2)
    with Image.open(path) as picture:
        assert picture.size == (404, 404)
    for path in write_images(images, f"{tmp_path}/folder/", 1):
        with Image.open(path) as picture:
            assert picture.size == (100, 100)
    with pytest.raises(SamplerError, match="scale=2: enlarges a grid; expected 1 for the single images of the folder"):
        list(write_images(images, f"{tmp_path}/other/", 2))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("suffix", PICTURES)
def test_a_suffix_says_what_is_written(suffix: str, tmp_path: Path) -> None:
    picture = np.full((6, 5, 3), (200, 10, 10), np.uint8)
    write_picture(picture, tmp_path / f"a{suffix.upper()}")
    with Image.open(tmp_path / f"a{suffix.upper()}") as found:
        assert found.format == Image.registered_extensions()[suffix]
        assert np.abs(np.asarray(found.convert("RGB")).astype(int) - picture).max() <= 3


def test_a_temporary_name_is_not_followed_and_the_picture_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    (tmp_path / ".grid.png.partial").symlink_to(tmp_path / "mine")
    (tmp_path / "plain").touch()
    write_picture(np.zeros((2, 2, 3), np.uint8), tmp_path / "grid.png")
    assert (tmp_path / "mine").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".grid.png.partial", "grid.png", "mine", "plain"]
    assert (tmp_path / "grid.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("out", ["grid.xyz", "grid", "grid.csv", "new/images", "generator.onnx"])
def test_any_other_name_is_refused_with_what_is_accepted(out: str, onnx_file: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "export.sampler", str(onnx_file), f"--out={out}", cwd=tmp_path, fails=2)
    accepted = f"{', '.join((*PICTURES, *ARRAYS))}, or a folder: one that exists, or a name ending in /"
    assert done.stderr == f"error: out={out}: this generator makes images; expected a file ending in {accepted}\n"
    assert list(tmp_path.iterdir()) == []


def test_images_of_an_earlier_call_are_told(tmp_path: Path) -> None:
    images, out = np.zeros((12, 2, 2, 3), np.uint8), f"{tmp_path}/images/"
    assert output_text(list(write_images(images, out)), out) == out
    (tmp_path / "images" / "mine.png").touch()
    expected = f"{out}, where 3 images of an earlier call are left, the first 000009.png"
    assert output_text(list(write_images(images[:9], out)), out) == expected


def test_files_that_are_not_generators_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a graph")
    stranger = onnx.load(onnx_file)
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    for path, reason in (
        (text, "not an ONNX file, or damaged"),
        (tmp_path / "stranger.onnx", "not a generator"),
        (tmp_path / "no", "no such file; expected one of python -m export.onnx"),
        (tmp_path, "a folder, expected an ONNX file of python -m export.onnx"),
    ):
        with pytest.raises(SamplerError, match=reason):
            Sampler(path)


def test_files_changed_by_other_programs_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "fixed.onnx")
    content = onnx_file.read_bytes()
    assert content.count(b"handwritten digits") == 1
    (tmp_path / "latin.onnx").write_bytes(content.replace(b"handwritten digits", b"handwritten\xff\xfedigit"))
    for name, reason in (("fixed", "its batch size is fixed at 1, expected a free one"), ("latin", "'utf-8' codec")):
        with pytest.raises(SamplerError, match=rf"{name}\.onnx: not a generator written by export\.onnx: {reason}"):
            Sampler(tmp_path / f"{name}.onnx")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("latent_dim", "image_size", "channels")
            for value in ("0_2", " 2", "+2", "２", "2.0")
        ),
        *(("latent_distribution", value) for value in ("zipf", "Normal", "")),
        *(("layout", value) for value in ("nhwc", "nchw ", "")),
        *(("value_range", value) for value in ("0,255", "0,1", "unbounded")),
    ],
)
def test_metadata_that_are_not_understood_are_refused(name: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(graph([WEIGHT], {"layout": "nchw", "value_range": "-1,1"}))
    assert Sampler(path).sample(2).shape == (2, 2, 2, 1)
    path.write_bytes(graph([WEIGHT], {name: value}))
    with pytest.raises(
        SamplerError, match=f"not a generator written by export.onnx: {name}={re.escape(value)}: expected"
    ):
        Sampler(path)


def test_latents_of_an_unknown_distribution_are_refused() -> None:
    with pytest.raises(ValueError, match="^latent_distribution=zipf: expected normal or uniform$"):
        latents(1, 2, "zipf")


@pytest.mark.parametrize("text", ["0_8", "２", "1e3", "--1", ""])
def test_a_number_of_the_command_line_is_decimal(text: str) -> None:
    assert (_number("8"), _number("-8")) == (8, -8)
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text}: expected a whole number$"):
        _number(text)


@pytest.mark.parametrize("suffix", MAX_SIDE)
def test_a_picture_is_as_large_as_its_format_allows_and_no_larger(suffix: str, tmp_path: Path) -> None:
    most, path = MAX_SIDE[suffix], tmp_path / f"a{suffix}"
    write_picture(np.zeros((1, most, 1), np.uint8), path)
    with Image.open(path) as found:
        assert found.size == (most, 1)
    for shape in ((1, most + 1, 1), (most + 1, 1, 1)):
        with pytest.raises(
            SamplerError, match=rf"out={path}: a picture of .*; {suffix} files have at most {most:,} on"
        ):
            write_picture(np.zeros(shape, np.uint8), path)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [(LOOP, "Loop"), ([helper.make_node("Scan", ["z"], ["images"])], "Scan"), ([*LOOP, *LOOP], "Loop")],
)
def test_control_flow_is_refused_before_the_file_is_loaded(nodes: list[Any], found: str, tmp_path: Path) -> None:
    path = tmp_path / "endless.onnx"
    content = graph([WEIGHT, helper.make_tensor("yes", TensorProto.BOOL, [], [True])], nodes=nodes)
    for hidden in (content, b"\x08\x0a" + content):
        path.write_bytes(hidden)
        with pytest.raises(SamplerError, match=f"it contains {found}, which no generator needs"):
            Sampler(path)
    # A group, and a key of more than 32 bits, are skipped or cut by other readers, which then see another graph.
    for hiding in (b"\xfb\x01\xfc\x01", b"\xba\x80\x80\x80\x80\x01\x00"):
        path.write_bytes(hiding + content)
        with pytest.raises(SamplerError, match="not an ONNX file, or damaged"):
            Sampler(path)


def test_functions_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph([WEIGHT]))
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("evil", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(SamplerError, match="it contains function"):
        Sampler(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("name", "value"), [("latent_dim", 2**31), ("latent_dim", 65_537), ("image_size", 4097), ("channels", 0)]
)
def test_sizes_are_bounded_before_anything_is_allocated(name: str, value: int, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(graph([WEIGHT], {name: str(value)}))
    with pytest.raises(SamplerError, match=f"not a generator written by export.onnx: {name}={value}, expected 1 to"):
        Sampler(tmp_path / "a.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_one_line_and_no_picture(value: float, tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 4], [0.1] * 7 + [value])
    (tmp_path / "a.onnx").write_bytes(graph([weight]))
    done = run(sys.executable, "-m", "export.sampler", "a.onnx", "--count=2", cwd=tmp_path, fails=2)
    assert done.stderr == "error: a.onnx: its samples have values that are not finite\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_names_in_a_file_reach_the_terminal_as_escape_sequences(tmp_path: Path) -> None:
    hostile = "clip\x1b]52;c;AAAA\x07\nerror: forged"
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["flat"], name=hostile),
        helper.make_node("Reshape", ["flat", "shape"], ["images"], name=f"2{hostile}"),
    ]
    unused = helper.make_tensor(hostile, TensorProto.FLOAT, [1], [0.5])
    # onnxruntime itself warns of what is unused, and logs a node that fails.
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [-1, 1, 2, 2])
    content = graph([WEIGHT, shape, unused], nodes=nodes)
    (tmp_path / "a.onnx").write_bytes(content)
    fine = run(sys.executable, "-m", "export.sampler", "a.onnx", "--count=2", cwd=tmp_path)
    assert fine.stderr == ""
    narrow = helper.make_tensor("w", TensorProto.FLOAT, [2, 3], [0.1] * 6)
    (tmp_path / "a.onnx").write_bytes(graph([narrow, shape], nodes=nodes))
    done = run(sys.executable, "-m", "export.sampler", "a.onnx", "--count=2", cwd=tmp_path, fails=2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert r"clip\x1b]52;c;AAAA\x07\nerror: forged" in done.stderr
    assert printable("Łódź 猫 \u202e") == r"Łódź 猫 \u202e"


def test_a_wrong_argument_is_one_line_and_status_2(onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (
        ["missing.onnx"],
        [5000 * "x"],
        [str(onnx_file), f"--out={5000 * 'x'}.png"],
        [str(onnx_file), "--count=0"],
        [str(onnx_file), "--out=file/grid.png"],
        [str(onnx_file), "--out=images/", "--scale=2"],
    ):
        done = run(sys.executable, "-m", "export.sampler", *arguments, cwd=tmp_path, fails=2)
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def points_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a generator of points, beside its generator file."""
    path = write_generator(tmp_path_factory.mktemp("points"), small_spec("points"), "8gaussians")
    export_onnx({"ckpt": str(path)})
    return path.with_suffix(".onnx")


def test_points_equal_the_network_and_do_not_depend_on_the_count(points_file: Path) -> None:
    sampler = Sampler(points_file)
    assert sampler.makes_points
    points = sampler.sample(70, seed=5)
    assert points.shape == (70, 2)
    assert points.dtype == np.float32
    with torch.no_grad():
        network = generator_file.load(points_file.with_suffix(".safetensors")).network
        expected = network(torch.from_numpy(sampler.latents(70, seed=5))).numpy()
    np.testing.assert_allclose(points, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sampler.sample(7, seed=5), points[:7], rtol=1e-5, atol=1e-6)


def test_a_csv_file_contains_every_digit_of_the_points(tmp_path: Path) -> None:
    points = np.array([[1 / 3, -2e-38], [3.4e38, 0.1]], np.float32)
    path = write_points(points, str(tmp_path / "folder" / "points.CSV"))
    assert path.read_text().count("\n") == 2
    assert (np.loadtxt(path, delimiter=",", dtype=np.float32) == points).all()
    assert [each.name for each in path.parent.iterdir()] == ["points.CSV"]


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize("suffix", [".npy", ".NPZ", ".csv"])
def test_points_of_any_dimension_are_written_as_rows(tmp_path: Path, dimensions: int, suffix: str) -> None:
    points = np.arange(4.0 * dimensions, dtype=np.float32).reshape(4, dimensions)
    path = write_points(points, str(tmp_path / f"points{suffix}"))
    if suffix == ".csv":
        assert [len(line.split(",")) for line in path.read_text().splitlines()] == [dimensions] * 4
        found = np.loadtxt(path, delimiter=",", ndmin=2)
    else:
        found = np.load(path) if suffix == ".npy" else np.load(path)["points"]
        assert found.dtype == np.float32
    assert found.tolist() == points.tolist()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_command_line_without_torch_writes_the_points_as_text(points_file: Path, tmp_path: Path) -> None:
    main = WITHOUT_TORCH + "import runpy; runpy.run_module('export.sampler', run_name='__main__')"
    done = run(sys.executable, "-c", main, str(points_file), "--count=40", "--seed=2", "--out=a/p.csv", cwd=tmp_path)
    assert "40 points by CPUExecutionProvider: a/p.csv" in done.stdout
    found = np.loadtxt(tmp_path / "a" / "p.csv", delimiter=",", dtype=np.float32)
    assert (found == Sampler(points_file).sample(40, seed=2)).all()


@pytest.mark.parametrize(
    ("out", "reason"),
    [("points.png", "points; expected a file ending in .csv, .npy, .npz"), ("file/p.csv", "cannot be written")],
)
def test_a_wrong_path_for_points_is_one_line_and_status_2(
    out: str, reason: str, points_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run(sys.executable, "-m", "export.sampler", str(points_file), f"--out={out}", cwd=tmp_path, fails=2)
    assert done.stderr.startswith(f"error: out={out}: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
