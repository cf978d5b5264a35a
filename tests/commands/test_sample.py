"""Sampling with torch: the same images as those of the exported graph, interpolation, and truncation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import sampler
from export.sampler import Sampler, enlarged, grid
from tests.exports import export_onnx
from tests.generators import CLASSES, small_spec, write_generator
from tests.processes import PYTHON, run
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.fields import from_flags
from wgan_dist.config.output_paths import ARRAYS, PICTURES
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import interpolate, interpolation_path
from wgan_dist.sampling import sample as sample_with
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import LABEL_HEIGHT


def sample(**flags: str) -> None:
    """Run the command with these flags."""
    sample_with(from_flags(SampleSettings, flags))


def pixels(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_seed_gives_the_same_images_with_and_without_torch(run_dir: Path, onnx_file: Path, tmp_path: Path) -> None:
    run(*PYTHON, "-m", "wgan_dist.sample", f"--ckpt={run_dir}", "--count=9", "--seed=4", "--out=g.png", cwd=tmp_path)
    expected = enlarged(grid(Sampler(onnx_file).sample(9, seed=4))).squeeze(-1).astype(int)
    found = pixels(tmp_path / "g.png").astype(int)
    assert np.abs(found - expected).max() <= 1  # rounding of values within float error of a half
    assert (found == expected).mean() > 0.999


def test_checkpoint_folders_and_generator_files_are_accepted(run_dir: Path, tmp_path: Path) -> None:
    sample(ckpt=str(run_dir / "checkpoints/step-00000006"), count="3", out=f"{tmp_path}/a/")
    sample(ckpt=str(run_dir / generator_file.EMA_FILE), count="3", out=f"{tmp_path}/b/")
    for name in ("000000.png", "000001.png", "000002.png"):
        assert (pixels(tmp_path / "a" / name) == pixels(tmp_path / "b" / name)).all()


def test_raw_and_averaged_weights_draw_different_images(run_dir: Path, tmp_path: Path) -> None:
    for weights in ("ema", "raw"):
        sample(ckpt=str(run_dir), weights=weights, count="4", out=str(tmp_path / f"{weights}.png"))
    assert (pixels(tmp_path / "ema.png") != pixels(tmp_path / "raw.png")).any()


def test_spherical_interpolation_keeps_the_norm_and_both_ends() -> None:
    start, end = np.array([3.0, 0.0], np.float32), np.array([0.0, 3.0], np.float32)
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = share * np.pi / 2
        np.testing.assert_allclose(
            interpolate(start, end, share, "normal"), 3 * np.array([np.cos(angle), np.sin(angle)]), atol=1e-6
        )
    np.testing.assert_allclose(interpolate(start, end, 0.5, "uniform"), [1.5, 1.5])
    np.testing.assert_allclose(interpolate(start, start, 0.3, "normal"), start, atol=1e-6)
    one = np.array([0.7], np.float32)
    np.testing.assert_allclose(interpolate(one, -2 * one, 0.5, "normal"), -0.5 * one, atol=1e-6)


def test_an_interpolation_visits_the_first_image_of_every_seed(run_dir: Path, tmp_path: Path) -> None:
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    path = interpolation_path(source.description, (1, 5, 2), frames=4)
    assert path.shape == (9, 8)
    for index, seed in ((0, 1), (4, 5), (8, 2)):
        np.testing.assert_allclose(path[index], sample_latents(1, 8, "normal", seed)[0], atol=1e-6)
    sample(ckpt=str(run_dir), interpolate="1,5,2", frames="4", out=str(tmp_path / "way.png"))
    assert pixels(tmp_path / "way.png").shape == (2 * 32, 2 * (9 * 32 + 8 * 2))
    with Image.open(tmp_path / "way.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 9
        assert gif.size == (512, 512)


def test_both_samplers_write_the_same_kinds_of_pictures() -> None:
    assert (PICTURES, ARRAYS) == (sampler.PICTURES, sampler.ARRAYS)


def frames(path: Path) -> int:
    with Image.open(path) as picture:
        return getattr(picture, "n_frames", 1)


def test_an_interpolation_is_written_as_its_name_says(run_dir: Path, tmp_path: Path) -> None:
    given = {"ckpt": str(run_dir), "interpolate": "1,2", "frames": "3"}
    sample(**given, out=str(tmp_path / "way.gif"))
    assert (frames(tmp_path / "way.gif"), [path.name for path in tmp_path.iterdir()]) == (4, ["way.gif"])
    sample(**given, out=str(tmp_path / "strip.webp"))
    assert (frames(tmp_path / "strip.webp"), frames(tmp_path / "strip.gif")) == (1, 4)
    animation = (tmp_path / "strip.gif").read_bytes()
    with pytest.raises(UserError, match=r"strip.webp: a picture of .* at most 16,383"):
        sample(**given | {"frames": "600"}, out=str(tmp_path / "strip.webp"))
    assert (tmp_path / "strip.gif").read_bytes() == animation
    sample(**given, out=f"{tmp_path}/single/")
    assert len(list((tmp_path / "single").iterdir())) == 4


@pytest.mark.parametrize("flags", [{}, {"truncation": "0.5,1"}])
def test_a_grid_is_written_in_the_format_of_its_name(flags: dict[str, str], run_dir: Path, tmp_path: Path) -> None:
    for name, format in (("g.gif", "GIF"), ("g.BMP", "BMP"), ("g.jpg", "JPEG")):
        sample(ckpt=str(run_dir), count="4", out=str(tmp_path / name), **flags)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == format


def test_images_of_an_earlier_call_are_told(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in ("5", "3"):
        sample(ckpt=str(run_dir), count=count, out=f"{tmp_path}/images/")
    expected = f"3 images: {tmp_path}/images/, where 2 images of an earlier call are left, the first 000003.png\n"
    assert capsys.readouterr().out == f"5 images: {tmp_path}/images/\n{expected}"


def test_truncation_scales_the_same_latents_and_labels_each_row(run_dir: Path, tmp_path: Path) -> None:
    sample(ckpt=str(run_dir), truncation="0.5,1", seed="4", out=str(tmp_path / "t.png"))
    found = pixels(tmp_path / "t.png").astype(int)
    height = 2 * 32 + LABEL_HEIGHT
    assert found.shape == (2 * height, 2 * (8 * 32 + 7 * 2))
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    for number, scale in enumerate((0.5, 1.0)):
        z = sample_latents(8, 8, "normal", 4) * np.float32(scale)
        strip = found[number * height : (number + 1) * height]
        assert (strip[LABEL_HEIGHT:] == enlarged(grid(generate(source.network, z), columns=8)).squeeze(-1)).all()
        assert strip[:LABEL_HEIGHT].min() < 100 < 200 < np.median(strip[:LABEL_HEIGHT])
    assert (found[:LABEL_HEIGHT] != found[height : height + LABEL_HEIGHT]).any()


def test_a_scale_of_one_keeps_the_pixels(run_dir: Path, tmp_path: Path) -> None:
    sample(ckpt=str(run_dir), scale="1", count="4", out=str(tmp_path / "grid.png"))
    assert pixels(tmp_path / "grid.png").shape == (66, 66)
    sample(ckpt=str(run_dir), scale="1", interpolate="1,2", frames="2", out=str(tmp_path / "way.png"))
    assert pixels(tmp_path / "way.png").shape == (32, 3 * 32 + 2 * 2)
    with Image.open(tmp_path / "way.gif") as gif:
        assert gif.size == (32, 32)
    sample(ckpt=str(run_dir), scale="1", truncation="0.5", out=str(tmp_path / "t.png"))
    assert pixels(tmp_path / "t.png").shape == (32 + LABEL_HEIGHT, 8 * 32 + 7 * 2)


@pytest.mark.parametrize(("scale", "fails"), [("1", False), ("1.01", True)])
def test_uniform_latents_are_not_scaled_beyond_their_range(scale: str, fails: bool, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"), distribution="uniform")
    flags = {"ckpt": str(path), "truncation": f"0.5,{scale}", "count": "2", "out": str(tmp_path / "t.png")}
    if fails:
        with pytest.raises(UserError, match=r"truncation=0.5,1.01: .*uniform in \[-1, 1\); expected scales up to 1"):
            sample(**flags)
    else:
        sample(**flags)
    assert (tmp_path / "t.png").exists() is not fails


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "^ckpt=: expected --ckpt="),
        ({"ckpt": "nowhere"}, "nowhere"),
        ({"interpolate": "1"}, "interpolate=1: expected at least two seeds"),
        ({"truncation": "0.5", "interpolate": "1,2"}, "expected one of them"),
        ({"truncation": "-0.5"}, "truncation=-0.5: expected at least 0"),
        ({"scale": "0"}, "scale=0: expected at least 1"),
        ({"scale": "2", "out": "{file}/"}, "scale=2: enlarges a grid; expected 1 for the single images of the folder"),
        ({"out": "{file}/x.png"}, "cannot be written"),
        ({"out": "grid.xyz"}, r"^out=grid.xyz: expected a file ending in .png, .*, or a folder: one that exists"),
        ({"out": "images"}, r"^out=images: expected a file ending in .png, .*, or a name ending in /$"),
        ({"out": "images.csv"}, r"^out=images.csv: this generator makes images; expected a file ending in .png, "),
        ({"out": "images.csv", "interpolate": "1,2"}, r"^out=images.csv: expected a file ending in .png, "),
        ({"out": "t.tif", "truncation": "1"}, r"^out=t.tif: expected a file ending in .png, "),
        ({"out": "way.tiff", "interpolate": "1,2"}, r"^out=way.tiff: expected a file ending in .png, "),
        ({"out": "images/", "truncation": "1"}, r"^out=images/: expected a file ending in .png, "),
    ],
)
def test_errors_name_the_setting(flags: dict[str, str], message: str, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = {name: value.replace("{file}", str(tmp_path / "file")) for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        sample(**(given if not flags or "ckpt" in flags else {"ckpt": str(run_dir)} | given))


@pytest.mark.parametrize("flags", [{}, {"interpolate": "1,2"}, {"truncation": "0.5,1"}])
def test_weights_that_overflow_are_an_error_that_names_the_file(flags: dict[str, str], tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    source = generator_file.load(path)
    weights = {name: value * 1e30 if value.dim() > 1 else value for name, value in source.network.state_dict().items()}
    path.write_bytes(generator_file.to_bytes(weights, source.description))
    with pytest.raises(UserError, match=f"^{path}: its samples have values that are not finite$"):
        sample(ckpt=str(path), out=str(tmp_path / "grid.png"), **flags)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.fixture(scope="module")
def points_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("points"), small_spec("points"), "8gaussians")


def test_points_are_those_of_the_exported_graph(points_generator: Path, tmp_path: Path) -> None:
    sample(ckpt=str(points_generator), count="150", seed="4", out=str(tmp_path / "p.csv"))
    export_onnx({"ckpt": str(points_generator), "out": str(tmp_path / "g.onnx")})
    found = np.loadtxt(tmp_path / "p.csv", delimiter=",")
    assert found.shape == (150, 2)
    np.testing.assert_allclose(found, Sampler(tmp_path / "g.onnx").sample(150, seed=4), atol=1e-5)


def blue_and_orange(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> tuple[int, int]:
    """Return the number of pixels of generated points and of real points."""
    blue, orange = ((picture.astype(int) - colour) ** 2 for colour in ([31, 119, 180], [255, 127, 14]))
    return int((blue.sum(-1) < 100).sum()), int((orange.sum(-1) < 100).sum())


@pytest.mark.parametrize("data", ["8gaussians", "unknown_points"])
def test_points_are_drawn_over_the_training_data(data: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), data)
    sample(ckpt=str(path), count="300", out=str(tmp_path / "p.png"))
    blue, orange = blue_and_orange(pixels(tmp_path / "p.png"))
    assert blue > 20
    # Without known real points only the legend is orange.
    assert orange > 500 if data == "8gaussians" else orange < 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"truncation": "0.5"}, "^truncation=0.5: expected a generator of images, not of points$"),
        ({"interpolate": "1,2"}, "^interpolate=1,2: expected a generator of images, not of points$"),
        ({"scale": "2"}, "^scale=2: expected a generator of images, not of points$"),
        ({"out": "points.txt"}, r"^out=points.txt: expected a file ending in .png, .*, .csv, or a folder"),
        ({"out": "points/"}, r"^out=points/: expected a file ending in .csv, .npy, .npz, .png, "),
        ({"out": "{file}/p.csv"}, "p.csv: cannot be written"),
        ({"out": "{file}/p.png"}, "p.png: cannot be written"),
    ],
)
def test_errors_for_points_name_the_setting(
    flags: dict[str, str], message: str, points_generator: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    given = {name: value.replace("{file}", str(tmp_path / "file")) for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        sample(**{"ckpt": str(points_generator)} | given)


@pytest.fixture
def conditional(tmp_path: Path) -> Path:
    """A generator file with classes."""
    return write_generator(tmp_path, small_spec("resnet", classes=len(CLASSES)))


def test_a_class_is_chosen_or_drawn_as_without_torch(conditional: Path, tmp_path: Path) -> None:
    export_onnx({"ckpt": str(conditional)})
    graph = Sampler(conditional.with_suffix(".onnx"), provider="cpu")
    for flags, label in (({}, None), ({"label": "3"}, "3"), ({"label": "2"}, 2), ({"label": CLASSES[3]}, 3)):
        sample(ckpt=str(conditional), count="20", seed="4", out=str(tmp_path / "a.npy"), **flags)
        found = np.load(tmp_path / "a.npy").transpose(0, 2, 3, 1)
        expected = graph.sample(20, 4, label)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (found == expected).mean() > 0.99


def test_several_classes_are_rows_of_the_same_latents(conditional: Path, tmp_path: Path) -> None:
    sample(ckpt=str(conditional), label="3, sneaker", count="2", seed="4", scale="1", out=str(tmp_path / "l.png"))
    found = pixels(tmp_path / "l.png")
    network, z = generator_file.load(conditional).network, sample_latents(2, 8, "normal", 4)
    height, width = 16 + LABEL_HEIGHT, 2 * 16 + 2
    assert found.shape[0] == 2 * height
    for number, label in enumerate((1, 2)):
        row = found[number * height + LABEL_HEIGHT : (number + 1) * height]
        assert (row[:, :width] == grid(generate(network, z, labels=np.full(2, label)), columns=2)).all()
    words = found[height : height + LABEL_HEIGHT, width:]  # the longer name is wider than its images
    assert words.min() < 100


def test_a_path_between_seeds_and_scaled_latents_keep_their_class(conditional: Path, tmp_path: Path) -> None:
    network = generator_file.load(conditional).network
    sample(
        ckpt=str(conditional), interpolate="1,5", frames="2", label="sneaker", scale="1", out=str(tmp_path / "w.png")
    )
    first = generate(network, sample_latents(1, 8, "normal", 1), labels=np.array([2]))
    assert (pixels(tmp_path / "w.png")[:, :16] == first[0]).all()
    sample(
        ckpt=str(conditional), truncation="1", count="4", seed="1", label="3", scale="1", out=str(tmp_path / "t.png")
    )
    images = generate(network, sample_latents(4, 8, "normal", 1), labels=np.full(4, 1))
    assert (pixels(tmp_path / "t.png")[LABEL_HEIGHT:] == grid(images, columns=4)).all()


@pytest.mark.parametrize("labels", ["norm", "embedding"])
def test_a_path_between_classes_mixes_their_tables(labels: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan", classes=len(CLASSES), labels=labels))
    out = str(tmp_path / "w.png")
    sample(ckpt=str(path), interpolate_labels="sneaker,0,3", frames="2", seed="6", scale="1", out=out)
    strip = pixels(tmp_path / "w.png")
    found = np.stack([strip[:, 18 * number : 18 * number + 16] for number in range(5)])
    network, z = generator_file.load(path).network, sample_latents(1, 8, "normal", 6)
    stops = generate(network, z.repeat(3, 0), labels=np.array([2, 0, 1]))
    assert (found[::2] == stops).all()
    state = network.state_dict()
    for key in [key for key in state if "affine" in key or "embedding" in key]:
        state[key][3] = (state[key][2] + state[key][0]) / 2
    network.load_state_dict(state)
    middle = generate(network, z, labels=np.array([3]))[0]
    assert np.abs(found[1].astype(int) - middle).max() <= 1
    assert (found[1] != found[0]).any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"label": "sneeker"}, "^label=sneeker: expected a class such as sneaker"),
        ({"label": "sneaker,9"}, "^label=9: expected a class such as"),
        ({"label": "3,sneaker", "out": "a.npy"}, "^out=a.npy: expected a file ending in .png"),
        ({"interpolate": "1,2"}, "^interpolate=1,2: all images are of one class; expected --label="),
        ({"interpolate_labels": "3"}, "^interpolate_labels=3: expected at least two classes"),
        ({"interpolate_labels": "3,boat"}, "^label=boat: expected a class such as"),
        ({"interpolate_labels": "3,0", "label": "3"}, "^interpolate_labels with label: expected one of them"),
        ({"interpolate_labels": "3,0", "truncation": "1"}, "^interpolate_labels with truncation: expected one of them"),
    ],
)
def test_wrong_classes_are_errors(flags: dict[str, str], message: str, conditional: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sample(**{"ckpt": str(conditional), "out": str(tmp_path / "a.png")} | flags)
    assert [path.name for path in tmp_path.iterdir()] == [conditional.name]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"label": "sneaker"}, "^label=sneaker: this generator has no classes; expected no label"),
        ({"label": "3,4"}, "^label=3: this generator has no classes; expected no label"),
        ({"interpolate_labels": "3,4"}, "^interpolate_labels=3,4: this generator has no classes"),
    ],
)
def test_without_classes_there_is_no_label(flags: dict[str, str], message: str, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sample(ckpt=str(run_dir), out=str(tmp_path / "a.png"), **flags)
