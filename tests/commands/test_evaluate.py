"""The evaluate command: any generator file and any folder is measured alike, and errors name the setting."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization import quantize_dynamic
from PIL import Image
from torch_fidelity import calculate_metrics

from tests.exports import export_onnx, export_torchscript
from tests.extractors import Projection, inception_weights, noisy, torchscript, write_images
from tests.faults.tiny import SETTINGS
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.run_dir import EVALUATIONS
from wgan_dist.config import load_config
from wgan_dist.config.fields import from_flags
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.holdout import split_holdout
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.evaluate import EvaluateSettings
from wgan_dist.evaluate_files import evaluate as evaluate_settings
from wgan_dist.evaluation.results import table
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

FIDELITY = {"cuda": False, "verbose": False, "cache": False, "save_cpu_ram": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Train a run with held-out images and export its generator to every kind of file."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    few = {"max_steps": "4", "sample_every": "0", "checkpoint_every": "2", "holdout": "0.2"}
    train(SETTINGS | few | {"run_dir": str(folder), "cache_dir": str(cache_dir)})
    export_onnx({"ckpt": str(folder)})
    export_onnx({"ckpt": str(folder), "uint8": "true", "out": str(folder / "levels.onnx")})
    export_torchscript({"ckpt": str(folder)})
    model = onnx.load(folder / "generator.onnx")
    del model.graph.value_info[:]  # shapes of before, which stand in the way
    quantize_dynamic(model, folder / "generator_int8.onnx")
    return folder


def evaluate(flags: dict[str, str]) -> None:
    evaluate_settings(from_flags(EvaluateSettings, flags))


def measured(cache_dir: Path, out: Path, **flags: str) -> Any:
    """Evaluate and return the content of the JSON file."""
    evaluate({"cache_dir": str(cache_dir), "out": str(out)} | flags)
    return json.loads(out.read_text())


def values(found: dict[str, Any]) -> dict[str, float]:
    return {name: each["value"] for name, each in found["metrics"].items()}


def test_every_file_of_a_generator_is_measured_alike_and_the_quantised_one_nearly_so(
    run: Path, cache_dir: Path, tmp_path: Path
) -> None:
    names = ("generator.safetensors", "generator.onnx", "levels.onnx", "generator.pt", "generator_int8.onnx")
    files = ",".join([str(run), *(str(run / name) for name in names[1:])])
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    flags = {"ckpt": files, "count": "100", "metrics": "swd,nn,diversity,frechet", "feature_extractor": extractor}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    assert [each["source"] for each in found] == list(names)
    assert [each["kind"] for each in found] == ["safetensors", "onnx", "onnx", "torchscript", "onnx"]
    assert [each["precision"] for each in found] == ["float32", "float32", "float32", "float32", "int8"]
    assert {(each["weights"], each["step"], each["data"]) for each in found} == {("ema", 4, "digits")}
    first = values(found[0])
    assert first.keys() == {"sliced_wasserstein", "nearest_neighbour", "diversity", "frechet_distance"}
    for other in found[1:4]:  # a level of rounding here and there
        assert values(other) == pytest.approx(first, rel=1e-3)
    for name, value in values(found[4]).items():
        assert value != first[name]
        assert value == pytest.approx(first[name], rel=0.1)
    for each, name in zip(found, names, strict=True):
        assert json.loads((run / "evaluations" / f"{name}.json").read_text()) == each


def test_the_protocol_is_said_with_each_figure(run: Path, cache_dir: Path, tmp_path: Path) -> None:
    digits = open_images(("digits",), ImageSettings(square(16)), str(cache_dir))
    training = len(split_holdout(digits, 0.2).training)
    flags = {"ckpt": str(run), "weights": "raw", "count": "60", "real_count": "90"}
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    found = measured(cache_dir, tmp_path / "out.json", feature_extractor=extractor, **flags)
    said = {name: each["protocol"] for name, each in found["metrics"].items()}
    pixels = "16×16 grey, Euclidean over pixels in [-1, 1], last weights"
    source = "(digits, training part; resized to cover the size, centre-cropped)"
    sha256 = hashlib.sha256(Path(extractor).read_bytes()).hexdigest()
    features = f"60 generated, 90 real {source}, 16×16 grey, features of projection.pt ({sha256[:8]})"
    assert said == {
        "sliced_wasserstein": f"60 generated, 60 real {source}, 16×16 grey, last weights",
        "nearest_neighbour": f"60 generated, the nearest of {training:,} real {source}, {pixels}",
        "diversity": f"60 generated, all pairs, {pixels}",
        "frechet_distance": f"{features}, last weights",
        "kernel_distance": f"{features}, subsets of 60, last weights",
    }
    counts = {name: (each["generated"], each["real"]) for name, each in found["metrics"].items()}
    assert counts == {
        "sliced_wasserstein": (60, 60),
        "nearest_neighbour": (60, training),
        "diversity": (60, 0),
        "frechet_distance": (60, 90),
        "kernel_distance": (60, 90),
    }
    assert found["source"] == "checkpoints/step-00000004/generator_raw.safetensors"
    assert "--inception_weights=FILE" in found["skipped"]["fid"]
    assert (run / "evaluations" / "step-00000004-generator_raw.safetensors.json").is_file()


def test_a_file_outside_of_a_run_needs_real_images_named(run: Path, cache_dir: Path, tmp_path: Path) -> None:
    # Its description says digits, which are at hand; of any other data only the name is known.
    shutil.copy(run / "generator.onnx", tmp_path / "alone.onnx")
    flags = {"ckpt": str(tmp_path / "alone.onnx"), "metrics": "diversity,swd", "count": "50"}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    assert found["metrics"]["sliced_wasserstein"]["protocol"].startswith("50 generated, 50 real (digits; ")
    graph = onnx.load(tmp_path / "alone.onnx")
    for each in graph.metadata_props:
        each.value = "cats" if each.key == "wgan_dist.data" else each.value
    onnx.save(graph, tmp_path / "alone.onnx")
    with pytest.raises(UserError, match="data: expected --data=, the real images to compare with"):
        measured(cache_dir, tmp_path / "out.json", **flags)
    assert measured(cache_dir, tmp_path / "out.json", data="digits", **flags)["metrics"] == found["metrics"]


def test_folders_are_measured_as_torch_fidelity_measures_them(
    digits: ImageDataset, cache_dir: Path, tmp_path: Path
) -> None:
    folders = (
        write_images(noisy(digits.pixels[:60]), tmp_path / "fake"),
        write_images(digits.pixels[100:180], tmp_path / "real"),
    )
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    flags = {"samples": folders[0], "data": folders[1], "real_count": "80", "feature_extractor": extractor}
    found = measured(cache_dir, tmp_path / "out.json", metrics="frechet,kernel", **flags)
    settings = {"feature_extractor": "projection", "kid_subset_size": 60, "fid": True, "kid": True}
    expected = calculate_metrics(input1=folders[0], input2=folders[1], **settings, **FIDELITY)
    assert (found["kind"], found["source"], found["step"], found["weights"]) == ("folder", "fake", None, None)
    assert found["metrics"]["frechet_distance"]["protocol"].startswith("60 generated, 80 real (real; ")
    assert values(found)["frechet_distance"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    # The mean over subsets of 60 of 80 real ones, which come in another order here.
    assert values(found)["kernel_distance"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=0.1)


@pytest.mark.slow
def test_inceptions_metrics_are_torch_fidelitys_of_the_same_folders_and_weights(
    digits: ImageDataset, cache_dir: Path, tmp_path: Path
) -> None:
    folders = (
        write_images(noisy(digits.pixels[:12]), tmp_path / "fake"),
        write_images(digits.pixels[100:112], tmp_path / "real"),
    )
    weights = inception_weights(tmp_path / "inception.pth")
    flags = {"samples": folders[0], "data": folders[1], "inception_weights": weights, "metrics": "fid,kid,is,pr"}
    found = values(measured(cache_dir, tmp_path / "out.json", **flags))
    settings = {"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": weights}
    wanted = {"isc": True, "fid": True, "kid": True, "prc": True, "kid_subset_size": 12}
    expected = calculate_metrics(input1=folders[0], input2=folders[1], **settings, **wanted, **FIDELITY)
    assert found == pytest.approx(
        {
            "fid": expected["frechet_inception_distance"],
            "kid": expected["kernel_inception_distance_mean"],
            "inception_score": expected["inception_score_mean"],
            "precision": expected["precision"],
            "recall": expected["recall"],
        },
        rel=1e-4,
    )
    assert found["fid"] > 1e-3


def test_points_have_their_own_metrics(cache_dir: Path, tmp_path: Path) -> None:
    flags = {"recipe": "toy_8gaussians", "generator_features": "16", "critic_features": "16", "batch_size": "32"}
    train(flags | {"max_steps": "2", "sample_every": "0", "threads": "1", "run_dir": str(tmp_path / "run")})
    found = measured(cache_dir, tmp_path / "out.json", ckpt=str(tmp_path / "run"))
    assert values(found).keys() == {"exact_wasserstein", "modes_covered", "good_share", "rarest_mode_share"}
    assert found["metrics"]["exact_wasserstein"]["protocol"] == (
        "1,000 generated, 1,000 real (8gaussians), averaged weights"
    )
    with pytest.raises(UserError, match="metrics=diversity: expected auto, since 8gaussians are points"):
        evaluate({"ckpt": str(tmp_path / "run"), "metrics": "diversity"})
    for name in ("count", "real_count"):  # always as many: the exact distance is of equally many
        with pytest.raises(UserError, match=f"^{name}=200: expected auto, since 8gaussians are points"):
            evaluate({"ckpt": str(tmp_path / "run"), name: "200"})
    with pytest.raises(UserError, match="data=digits: expected points for a generator of points"):
        evaluate({"ckpt": str(tmp_path / "run"), "data": "digits"})


def test_what_was_measured_of_a_generator_before_is_kept(run: Path, cache_dir: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(own / "evaluations", ignore_errors=True)
    flags = {"ckpt": str(own / "generator.onnx"), "count": "30"}
    kept = own / "evaluations" / "generator.onnx.json"
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    measured(cache_dir, tmp_path / "out.json", feature_extractor=extractor, **flags)
    first = json.loads(kept.read_text())
    now = measured(cache_dir, tmp_path / "out.json", **flags | {"count": "20"})
    both = json.loads(kept.read_text())
    assert now["metrics"].keys() == {"sliced_wasserstein", "nearest_neighbour", "diversity"}
    assert both["metrics"] == first["metrics"] | now["metrics"] != first["metrics"]
    assert both["skipped"] == first["skipped"]
    # Of another generator, and against other images, nothing is kept.
    write_images(
        open_images(("digits",), ImageSettings(square(16), channels=1), str(cache_dir)).pixels[:40], tmp_path / "other"
    )
    now = measured(cache_dir, tmp_path / "out.json", **flags, data=str(tmp_path / "other"))
    assert json.loads(kept.read_text()) == now
    shutil.copy(own / "levels.onnx", own / "generator.onnx")
    now = measured(cache_dir, tmp_path / "out.json", **flags, metrics="diversity", data=str(tmp_path / "other"))
    assert json.loads(kept.read_text()) == now
    kept.write_text("torn")
    assert measured(cache_dir, tmp_path / "out.json", **flags, data="digits") == json.loads(kept.read_text())


def test_real_images_are_read_as_the_run_read_them_unless_told(cache_dir: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for number in range(20):
        Image.new("RGBA", (16, 16), (9 * number, 0, 0, 128)).save(data / f"{number:02}.png")
    (data / "torn.png").write_bytes(b"torn")
    read = {"data": str(data), "background": "000000", "skip_bad_images": "true"}
    few = {"max_steps": "1", "sample_every": "0", "batch_size": "8", "holdout": "0", "n_critic": "1"}
    train(SETTINGS | few | read | {"run_dir": str(run), "cache_dir": str(cache_dir)})
    flags = {"ckpt": str(run), "metrics": "nn", "count": "20"}
    found = values(measured(cache_dir, tmp_path / "out.json", **flags))
    assert values(measured(cache_dir, tmp_path / "out.json", background="#000000", **flags)) == found
    assert values(measured(cache_dir, tmp_path / "out.json", background="ffffff", **flags)) != found
    with pytest.raises(UserError, match="1 unreadable images"):
        measured(cache_dir, tmp_path / "out.json", skip_bad_images="false", **flags)
    assert values(measured(cache_dir, tmp_path / "out.json", **flags | read)) == found
    with pytest.raises(UserError, match="1 unreadable images"):
        measured(cache_dir, tmp_path / "out.json", data=str(data), **flags)


def test_last_weights_are_of_folders_alone(run: Path) -> None:
    with pytest.raises(UserError, match="weights=raw: expected a run or checkpoint folder, not the file ckpt="):
        evaluate({"ckpt": str(run / "generator.onnx"), "weights": "raw"})


def test_weights_of_an_unknown_kind_are_said_to_be_of_none(run: Path, cache_dir: Path, tmp_path: Path) -> None:
    graph = onnx.load(run / "generator.onnx")
    for each in graph.metadata_props:
        each.value = "swa" if each.key == "wgan_dist.weights" else each.value
    onnx.save(graph, tmp_path / "foreign.onnx")
    flags = {"ckpt": str(tmp_path / "foreign.onnx"), "metrics": "diversity", "count": "20"}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    assert found["weights"] is None
    assert found["metrics"]["diversity"]["protocol"].endswith("in [-1, 1]")


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_a_generator_of_what_is_not_finite_is_named(suffix: str, run: Path, cache_dir: Path, tmp_path: Path) -> None:
    source = generator_file.load(run / "generator.safetensors")
    for parameter in source.network.parameters():
        parameter.fill_(torch.nan)
    broken = tmp_path / "generator.safetensors"
    broken.write_bytes(generator_file.to_bytes(source.network.state_dict(), source.description))
    if suffix == "onnx":  # the export would refuse it
        graph = onnx.load(run / "generator.onnx")
        for each in graph.graph.initializer:
            if each.data_type == onnx.TensorProto.FLOAT:
                shape = list(each.dims)
                each.CopyFrom(onnx.numpy_helper.from_array(np.full(shape, np.nan, np.float32), each.name))
        onnx.save(graph, tmp_path / "generator.onnx")
    file = tmp_path / f"generator.{suffix}"
    with pytest.raises(UserError, match=f"{file}: .* values that are not finite"):
        measured(cache_dir, tmp_path / "out.json", ckpt=str(file), count="20")
    assert not (tmp_path / "out.json").exists()


def bad(tmp_path: Path, digits: ImageDataset) -> dict[str, tuple[dict[str, str], str]]:
    """Return flags and the error message for them, by case."""
    mixed = write_images(digits.pixels[:3], tmp_path / "mixed")
    write_images(digits.pixels[:1, :, ::2, ::2], tmp_path / "small")
    shutil.copy(tmp_path / "small" / "0000.png", tmp_path / "mixed" / "9.png")
    tiny = write_images(digits.pixels[:2, :, ::8], tmp_path / "tiny")
    few = write_images(digits.pixels[:1], tmp_path / "few")
    torn = write_images(digits.pixels[:2], tmp_path / "torn")
    (tmp_path / "torn" / "0001.png").write_bytes(b"torn")
    weights = tmp_path / "torn.pth"
    weights.write_bytes(b"torn")
    extractor = torchscript(Projection(), tmp_path / "projection.pt")
    both = {"samples": mixed, "data": "digits"}
    return {
        "neither": ({}, "ckpt: expected --ckpt="),
        "both": ({"ckpt": "a", "samples": "b"}, "ckpt: expected --ckpt="),
        "nothing there": ({"ckpt": "nowhere.onnx"}, "ckpt=nowhere.onnx: there is no such file"),
        "no data": ({"samples": mixed}, "data: expected --data=, the real images to compare --samples with"),
        "mixed": (both, f"samples={mixed}: images of mixed sizes: 0000.png is 32×32, 9.png is 16×16"),
        "tiny": (both | {"samples": tiny}, "images of 32×4 pixels: expected a size such as 64, or HEIGHTxWIDTH"),
        "few": (
            both | {"samples": few, "metrics": "frechet", "feature_extractor": extractor},
            "frechet_distance: 1 images: expected at least 2",
        ),
        "alone": (both | {"samples": few, "metrics": "diversity"}, "diversity: 1 images: expected at least 2"),
        "torn": (both | {"samples": torn}, f"samples={torn}: '0001.png': not a PNG"),
        "weights": (
            both | {"samples": few, "metrics": "fid", "inception_weights": str(weights)},
            f"inception_weights={weights}: not the weights of",
        ),
        "unknown": (both | {"metrics": "fidd"}, "metrics=fidd: expected auto, or some of swd"),
        "colour": (both | {"background": "zzz"}, "background=zzz: expected a colour as six hexadecimal digits"),
    }


CASES = [
    "neither",
    "both",
    "nothing there",
    "no data",
    "mixed",
    "tiny",
    "few",
    "alone",
    "torn",
    "weights",
    "unknown",
    "colour",
]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named(name: str, digits: ImageDataset, cache_dir: Path, tmp_path: Path) -> None:
    flags, said = bad(tmp_path, digits)[name]
    with pytest.raises(UserError, match=said):
        evaluate({"cache_dir": str(cache_dir)} | flags)


def result(source: str, protocols: dict[str, str], skipped: dict[str, str], value: float = 1.0) -> dict[str, Any]:
    metrics = {
        name: {"value": value, "protocol": protocol, "generated": 9, "real": 9} for name, protocol in protocols.items()
    }
    about = {"source": source, "kind": "onnx", "precision": "float32", "step": 1000, "weights": "ema"}
    return about | {"metrics": metrics, "skipped": skipped}


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=9), st.floats(0, 1e9)), min_size=1, max_size=4))
def test_a_table_has_straight_columns(rows: list[tuple[str, float]]) -> None:
    lines = table([result(name, {"fid": "so"}, {"kid": "why"}, value) for name, value in rows])
    assert lines[-1] == "not kid: why"
    header = 0 if len(rows) > 1 else 1
    start = lines[header].index("fid ↓" if len(rows) > 1 else "value")
    shown = [line[start:].split()[0] for line in lines[header + 1 : header + 1 + len(rows)]]
    assert [float(each) for each in shown] == pytest.approx([value for _, value in rows], rel=1e-4)


def test_what_differs_from_the_first_source_is_said_below_the_table() -> None:
    found = [
        result("a", {"fid": "of 16×16", "diversity": "of 9"}, {"kid": "no file"}),
        result("b", {"fid": "of 32×32", "diversity": "of 9"}, {"kid": "no file"}),
        result("c", {"fid": "of 16×16", "precision": "of 5"}, {"kid": "no file", "diversity": "too small"}),
    ]
    assert table(found)[5:] == [
        "fid: of 16×16",
        "diversity: of 9",
        "fid of b: of 32×32",
        "precision of c: of 5",
        "not kid: no file",
        "c: not diversity: too small",
    ]


def test_a_table_of_one_says_what_was_measured_which_way_is_better_and_what_real_images_reach() -> None:
    found = result("a.onnx", {"fid": "so", "nearest_neighbour": "thus"}, {"kid": "no file"})
    of_real = {"value": 4.5, "spread": 0.125, "first": 9, "second": 9}
    found["metrics"]["fid"] |= {"value": 31.25, "real_against_real": of_real}
    assert [" ".join(line.split()) for line in table([found])] == [
        "a.onnx, step 1,000, averaged weights, float32",
        "metric value real against real generated real protocol",
        "fid ↓ 31.25 4.5 ± 0.12 9 9 so",
        "nearest_neighbour 1 9 9 thus",
        "not kid: no file",
    ]
    of_real |= {"first": 4, "second": 5}  # the data have too few images
    assert "4.5 ± 0.12 (4 against 5)" in table([found])[2]


@pytest.mark.parametrize("metric", ["sliced_wasserstein", "spectrum_error"])
def test_a_set_is_at_distance_zero_from_itself_and_its_order_does_not_matter(
    metric: str, digits: ImageDataset, cache_dir: Path, tmp_path: Path
) -> None:
    own, other = write_images(digits.pixels[:40], tmp_path / "own"), write_images(digits.pixels[40:80], tmp_path / "b")
    turned = write_images(digits.pixels[39::-1], tmp_path / "turned")

    def distance(samples: str, data: str) -> Any:
        flags = {"samples": samples, "data": data, "metrics": metric}
        return measured(cache_dir, tmp_path / "out.json", **flags)["metrics"][metric]

    assert distance(own, own)["value"] == distance(own, turned)["value"] == 0.0
    assert distance(own, other) == distance(turned, other)
    found = distance(own, other)
    of_real = found["real_against_real"]
    assert of_real["protocol"] == "20 real against 20 other real, mean of 4 random splits"
    assert 0.0 < found["value"] < 2 * of_real["value"]


def test_the_spectra_of_both_sets_are_written(digits: ImageDataset, cache_dir: Path, tmp_path: Path) -> None:
    samples, data = (
        write_images(digits.pixels[rows], tmp_path / str(rows.start)) for rows in (slice(0, 40), slice(40, 80))
    )
    found = measured(cache_dir, tmp_path / "out.json", samples=samples, data=data, metrics="spectrum")
    spectra = {name: np.array(powers) for name, powers in found["metrics"]["spectrum_error"]["spectra"].items()}
    assert spectra.keys() == {"generated", "real"}
    assert spectra["generated"].shape == (1, 16)
    decades = np.abs(np.log10(spectra["generated"] / spectra["real"])).mean()
    assert values(found)["spectrum_error"] == pytest.approx(decades)
    with Image.open(tmp_path / "out-spectrum.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5.0  # not an empty page


def test_grey_samples_are_compared_with_colour_images_in_colour(
    digits: ImageDataset, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = digits.pixels[:30]
    samples = write_images(grey, tmp_path / "grey")
    colour = write_images(np.concatenate([grey, 0 * grey, grey], axis=1), tmp_path / "colour")
    flags = {"samples": samples, "data": colour, "metrics": "swd,nn"}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    assert "grey samples are compared with colour images of colour in 3 channels" in capsys.readouterr().err
    assert "32×32 RGB" in found["metrics"]["nearest_neighbour"]["protocol"]
    # Each image differs from its own colour in the green channel alone, which is −1 there.
    distance = np.linalg.norm((grey / 127.5).reshape(30, -1), axis=1)
    assert values(found)["nearest_neighbour"] == pytest.approx(distance.mean(), rel=0.05)
    assert values(measured(cache_dir, tmp_path / "out.json", **flags | {"data": samples}))["nearest_neighbour"] == 0.0


def test_fewer_images_than_asked_for_are_said(
    digits: ImageDataset, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, more = (
        write_images(digits.pixels[:20], tmp_path / "few"),
        write_images(digits.pixels[20:60], tmp_path / "more"),
    )
    flags = {"samples": more, "data": few, "metrics": "nn", "count": "4096"}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    assert (found["metrics"]["nearest_neighbour"]["generated"], found["metrics"]["nearest_neighbour"]["real"]) == (
        40,
        20,
    )
    said = capsys.readouterr().err
    assert f"samples={more}: has 40 images, fewer than count=4,096" in said
    assert "few has 20 images to compare with, fewer than the 4,096 asked for" in said


def test_a_run_is_measured_by_its_own_data_from_any_folder(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: ImageDataset
) -> None:
    for name, rows in (("here", slice(40)), ("there", slice(40, 80))):
        (tmp_path / name / "work").mkdir(parents=True)
        write_images(digits.pixels[rows], tmp_path / name / "base")
    monkeypatch.chdir(tmp_path / "here" / "work")
    few = {"max_steps": "1", "sample_every": "0", "batch_size": "8", "n_critic": "1", "recipe": "", "image_size": "16"}
    run = train(SETTINGS | few | {"run_dir": "run", "data": "../base", "cache_dir": str(cache_dir)})
    assert run is not None
    assert load_config({"run_dir": "run", "resume": "true"}).data == (str(tmp_path / "here" / "base"),)
    flags = {"ckpt": str(run.resolve()), "metrics": "nn", "count": "20"}
    found = measured(cache_dir, tmp_path / "out.json", **flags)
    monkeypatch.chdir(tmp_path / "there" / "work")
    assert measured(cache_dir, tmp_path / "out.json", **flags) == found
    shutil.rmtree(tmp_path / "here" / "base")
    shutil.copytree(tmp_path / "there" / "base", tmp_path / "here" / "base")
    with pytest.raises(UserError, match="its samples are not those that generator.safetensors was trained on"):
        measured(cache_dir, tmp_path / "out.json", **flags)
    told = measured(cache_dir, tmp_path / "out.json", **flags, data=str(tmp_path / "here" / "base"))
    assert values(told) != values(found)


def test_a_file_older_than_its_run_is_said(
    run: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"metrics": "diversity", "count": "20"}
    measured(cache_dir, tmp_path / "out.json", ckpt=str(run / "checkpoints" / "step-00000002"), **flags)
    said = "note: checkpoints/step-00000002/generator.safetensors is of step 2, older than the run, which is at step 4"
    assert said in capsys.readouterr().err
    measured(cache_dir, tmp_path / "out.json", ckpt=str(run), **flags)
    assert "older" not in capsys.readouterr().err


def test_a_result_is_written_into_the_run_that_was_named_and_nowhere_else(
    run: Path, cache_dir: Path, tmp_path: Path
) -> None:
    stranger, mine = (Path(shutil.copytree(run, tmp_path / name)) for name in ("stranger", "mine"))
    for folder in (stranger, mine):
        shutil.rmtree(folder / EVALUATIONS, ignore_errors=True)
    flags = {"ckpt": str(stranger), "metrics": "diversity", "count": "4", "cache_dir": str(cache_dir)}
    (stranger / generator_file.EMA_FILE).unlink()
    (stranger / generator_file.EMA_FILE).symlink_to(mine / generator_file.EMA_FILE)
    evaluate(flags)
    assert (stranger / EVALUATIONS / "generator.safetensors.json").is_file()
    assert not (mine / EVALUATIONS).exists()
    shutil.rmtree(stranger / EVALUATIONS)
    (stranger / EVALUATIONS).symlink_to(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"evaluations: is a link to {tmp_path}, outside of its run"):
        evaluate(flags)
    assert sorted(tmp_path.iterdir()) == before
