"""The portable generator: equal content is equal bytes, nothing foreign runs, and every damage has a name."""

import dataclasses
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import wgan_dist
from tests.generators import OWN_NETWORK
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import load_config, to_yaml
from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.data.synthetic import DIMENSIONS
from wgan_dist.models.registry import POINT_SIZE, NetworkSpec, build_generator, generator_spec
from wgan_dist.utils.errors import UserError

DESCRIPTION = Description(
    network=generator_spec("dcgan", 3, square(16), 1, 2, "batch"),
    latent_distribution="uniform",
    weights="ema",
    steps=7,
    seen_images=448,
    training_examples=1797,
    data="digits",
    data_fingerprint="12ab",
    description="handwritten digits, “0” to “9”",
    license="CC-BY-4.0",
    package_version="0.9",
)
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def example_network() -> nn.Module:
    return build_generator(DESCRIPTION.network, seed=5)


def example_bytes() -> bytes:
    return generator_file.to_bytes(example_network().state_dict(), DESCRIPTION)


def with_metadata(about: object) -> bytes:
    """The example with another description, as a newer or a damaged writer leaves it."""
    return safetensors.torch.save(example_network().state_dict(), {"wgan_dist": json.dumps(about)})


def about() -> dict[str, object]:
    """The JSON that describes the example."""
    return json.loads(json.dumps(dataclasses.asdict(DESCRIPTION))) | {"format_version": 1, "value_range": [-1.0, 1.0]}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "generator.safetensors"
    path.write_bytes(content)
    return path


def refuse(folder: Path, content: bytes, reason: str) -> None:
    path = write(folder, content)
    with pytest.raises(UserError, match=f"{path}: .*({reason})"):
        generator_file.load(path)


def test_equal_content_is_equal_bytes_in_every_process() -> None:
    arguments = dict(reversed(DESCRIPTION.network.arguments.items()))
    reordered = dataclasses.replace(DESCRIPTION, network=NetworkSpec("dcgan", arguments))
    assert generator_file.to_bytes(example_network().state_dict(), reordered) == example_bytes()
    package = str(Path(wgan_dist.__file__).parents[1])
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": package}
    there = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [hashlib.sha256(example_bytes()).hexdigest()]


def test_the_metadata_is_one_key_with_the_description_and_nothing_else(tmp_path: Path) -> None:
    # Several keys are written in random order; a date, path or host would make equal runs unequal.
    with safetensors.safe_open(write(tmp_path, example_bytes()), "pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"wgan_dist"}
    found = json.loads(metadata["wgan_dist"])
    assert len(found.pop("sha256")) == 64
    assert found == about()


def spec_of(name: str, spectral_norm: bool) -> NetworkSpec:
    """A small generator of the registry, for images that are no squares."""
    size, channels = (POINT_SIZE, DIMENSIONS) if name == "points" else (ImageSize(16, 24), 3)
    return generator_spec(name, 3, size, channels, 4, "auto", spectral_norm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_comes_back_with_its_weights_dtype_and_description(
    tmp_path: Path, name: str, spectral_norm: bool, dtype: torch.dtype
) -> None:
    spec = spec_of(name, spectral_norm)
    network = build_generator(spec, seed=5).to(dtype)
    # Running statistics and singular vectors that are not the initial ones.
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.randn(4, 3, dtype=dtype)).square().sum().backward()
    optimizer.step()
    network(torch.randn(4, 3, dtype=dtype))
    description = dataclasses.replace(DESCRIPTION, network=spec)
    content = generator_file.to_bytes(network.state_dict(), description)
    loaded = generator_file.load(write(tmp_path, content))
    assert loaded.description == description
    assert (description.latent_dim, description.channels) == (3, spec.arguments["channels"])
    assert description.makes_points == (name == "points")
    assert loaded.sha256 == hashlib.sha256(content).hexdigest()
    state, found = network.state_dict(), loaded.network.state_dict()
    assert state.keys() == found.keys()
    assert all(torch.equal(state[key], found[key]) for key in state)
    assert generator_file.to_bytes(found, loaded.description) == content
    z = torch.randn(4, 3, dtype=dtype)
    assert torch.equal(loaded.network(z), network.eval()(z))
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert all(value.dtype == dtype for value in loaded.network.parameters())


def test_spectral_norm_is_written_down_and_its_estimates_are_part_of_the_weights(tmp_path: Path) -> None:
    spec = spec_of("sagan", True)
    content = generator_file.to_bytes(
        build_generator(spec).state_dict(), dataclasses.replace(DESCRIPTION, network=spec)
    )
    with safetensors.safe_open(write(tmp_path, content), "pt") as file:
        assert json.loads(file.metadata()["wgan_dist"])["network"]["spectral_norm"] is True
        # At 16×16 three transposed convolutions, and four convolutions in each of two attentions.
        assert sum(key.endswith("._u") for key in list(file.keys())) == 3 + 2 * 4


def test_points_are_said_to_have_no_range(tmp_path: Path) -> None:
    spec = spec_of("points", False)
    content = generator_file.to_bytes(
        build_generator(spec).state_dict(), dataclasses.replace(DESCRIPTION, network=spec)
    )
    with safetensors.safe_open(write(tmp_path, content), "pt") as file:
        assert json.loads(file.metadata()["wgan_dist"])["value_range"] is None


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    newer = about() | {"format_version": 2, "package_version": "3.1"}
    refuse(tmp_path, with_metadata(newer), "format version 2, .*wgan_dist 3.1.* up to 1")
    # Even if it describes itself in other words.
    refuse(tmp_path, with_metadata({"format_version": 2, "package_version": "3.1"}), "format version 2")


def test_a_missing_part_of_the_description_is_named(tmp_path: Path) -> None:
    incomplete = {key: value for key, value in about().items() if key != "latent_distribution"}
    refuse(tmp_path, with_metadata(incomplete), "description .* damaged.*latent_distribution")


@pytest.mark.parametrize(
    ("name", "value"),
    [("latent_distribution", "zipf"), ("weights", "averaged"), ("value_range", [0.0, 1.0]), ("value_range", None)],
)
def test_a_value_that_is_not_understood_is_refused(name: str, value: object, tmp_path: Path) -> None:
    refuse(
        tmp_path, with_metadata(about() | {name: value}), f"description .* damaged: {name}={re.escape(str(value))}: "
    )


FOREIGN = {
    "empty": b"",
    "text": b"A generator, believe me.\n" * 100,
    "pickle": pickle.dumps({"weight": [1.0]}),
    "json": json.dumps({"__metadata__": {"wgan_dist": "{}"}}).encode(),
    "no metadata": safetensors.torch.save(example_network().state_dict()),
    "metadata of another program": safetensors.torch.save(example_network().state_dict(), {"format": "pt"}),
    "no version": with_metadata({}),
    "version of another type": with_metadata(about() | {"format_version": "1"}),
    "a list": with_metadata([1]),
    "deeply nested": (100_000).to_bytes(8, "little") + b"[" * 100_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    refuse(tmp_path, content, "not a generator file of wgan_dist, or damaged")


def test_who_opens_a_graph_is_told_what_draws_from_it(tmp_path: Path) -> None:
    path = tmp_path / "cats.onnx"
    path.write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(UserError, match=r"damaged; python -m export\.sampler \S+cats\.onnx draws from an ONNX file$"):
        generator_file.load(path)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"weight": Trap()}, tmp_path / "trap")
    refuse(tmp_path, (tmp_path / "trap").read_bytes(), "not a generator file")
    assert not (tmp_path / "sprung").exists()


@given(share=st.floats(0, 1, exclude_max=True))
@FUZZ
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    content = example_bytes()
    refuse(tmp_path, content[: int(share * len(content))], "")


@given(data=st.data())
@FUZZ
def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(example_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header - 1) | st.integers(header, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = write(tmp_path, bytes(content))
    try:
        found = generator_file.load(path)
    except UserError:
        return
    # Filling between the header's words, say: what the file means is what it meant.
    assert place < header
    assert found.description == DESCRIPTION
    assert generator_file.to_bytes(found.network.state_dict(), found.description) == example_bytes()


# Not merely that these bytes lack a checksum, which comes after.
IMPOSSIBLE = "the description of the generator is damaged|describes a generator that cannot be built"
ARGUMENTS: dict[str, object] = {
    "text for a number": {"features": "2"},
    "a fraction": {"latent_dim": 3.0},
    "a list": {"channels": [1]},
    "nothing": {"latent_dim": None},
    "negative": {"features": -2},
    "zero": {"image_size": [0, 0]},
    "a number for a size": {"image_size": 16},
    "one side of a size": {"image_size": [16]},
    "text for a side": {"image_size": [16, "x"]},
    "another name": {"colour": 1},
    "a number for text": {"norm": 1},
    "latents beyond the bound": {"latent_dim": 65_537},
    "features beyond the bound": {"features": 2_000_000},
    "images beyond the bound": {"image_size": [8192, 16]},
    "channels beyond the bound": {"channels": 1025},
    "points by a network of images": {"channels": 2, "image_size": [1, 1]},
}


@pytest.mark.parametrize("changed", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_an_impossible_network_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    network = {"name": "dcgan", "arguments": DESCRIPTION.network.arguments | changed}
    refuse(tmp_path, with_metadata(about() | {"network": network}), IMPOSSIBLE)


def test_a_long_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    blanks = 1 << 23
    refuse(tmp_path, (blanks + 1).to_bytes(8, "little") + b" " * (blanks + 1), "not a generator file of wgan_dist")


WORDY_NORM = {"name": "dcgan", "arguments": DESCRIPTION.network.arguments, "spectral_norm": "no"}


@pytest.mark.parametrize(
    "network", [{"name": 1, "arguments": {}}, {"name": "dcgan", "arguments": []}, [], "dcgan", WORDY_NORM]
)
def test_a_network_of_the_wrong_type_is_refused(tmp_path: Path, network: object) -> None:
    refuse(tmp_path, with_metadata(about() | {"network": network}), IMPOSSIBLE)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    wider = build_generator(generator_spec("dcgan", 3, square(16), 1, 3, "batch")).state_dict()
    refuse(tmp_path, generator_file.to_bytes(wider, DESCRIPTION), "weights of another network")


def test_a_file_never_chooses_code_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_artifact_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    name = "own_artifact_network:Own"
    description = dataclasses.replace(DESCRIPTION, network=generator_spec(name, 3, square(8), 1, None, "auto"))
    weights = nn.Linear(3, 64).state_dict()
    path = write(tmp_path, generator_file.to_bytes({f"body.{key}": each for key, each in weights.items()}, description))
    for given_name in ("", "own_artifact_network:Other", "dcgan"):
        with pytest.raises(UserError, match=f"{path}: needs the network {name}; .*--generator={name}"):
            generator_file.load(path, given_name)
    assert not (tmp_path / "imported").exists()
    z = torch.randn(5, 3)
    images = generator_file.load(path, name).network(z)
    torch.testing.assert_close(images.flatten(1), z @ weights["weight"].T + weights["bias"])


def make_run(folder: Path) -> Path:
    """A finished run: an averaged generator, and checkpoints of steps 9 and 10, the newer one damaged."""
    places = ["", "checkpoints/step-00000009", "checkpoints/step-00000010", "checkpoints/step-00000011.damaged"]
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "generator.safetensors").touch()
        if place:
            (folder / place / "generator_raw.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    ("ckpt", "kind", "found"),
    [
        ("", "ema", "generator.safetensors"),
        ("", "raw", "checkpoints/step-00000010/generator_raw.safetensors"),
        ("checkpoints/step-00000009", "ema", "checkpoints/step-00000009/generator.safetensors"),
        ("checkpoints/step-00000009", "raw", "checkpoints/step-00000009/generator_raw.safetensors"),
        ("generator.safetensors", "ema", "generator.safetensors"),
    ],
)
def test_a_run_a_checkpoint_or_a_file_stands_for_a_generator(tmp_path: Path, ckpt: str, kind: str, found: str) -> None:
    run = make_run(tmp_path / "run")
    assert generator_file.locate(str(run / ckpt), kind) == run / found


@pytest.mark.parametrize("kind", ["ema", "raw"])
@pytest.mark.parametrize("ckpt", ["missing", ".", "missing/generator.safetensors"])
def test_where_no_generator_is_the_message_says_what_is_accepted(tmp_path: Path, ckpt: str, kind: str) -> None:
    path = str(tmp_path / ckpt)
    with pytest.raises(UserError, match=f"ckpt={path}: expected a run folder, a checkpoint folder or a generator"):
        generator_file.locate(path, kind)


if __name__ == "__main__":  # the other process of the first test
    print(hashlib.sha256(example_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("every", "first"),
    [
        ("1000", "after step 1,000 (checkpoint_every=1000), or earlier, when the run ends or is stopped by Ctrl-C"),
        ("2epoch", "after epoch 2 (checkpoint_every=2epoch), or earlier, when the run ends or is stopped by Ctrl-C"),
        ("0", "when the run ends or is stopped by Ctrl-C"),
    ],
)
@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_a_run_without_a_checkpoint_says_when_the_first_comes(
    tmp_path: Path, every: str, first: str, weights: str
) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(load_config({"checkpoint_every": every})))
    with pytest.raises(UserError) as error:
        generator_file.locate(str(tmp_path), weights)
    assert str(error.value) == f"ckpt={tmp_path}: this run has no checkpoint yet; the first comes {first}"
    (tmp_path / CHECKPOINTS / "step-00000001").mkdir(parents=True)
    with pytest.raises(UserError, match="there is no .*/generator"):
        generator_file.locate(str(tmp_path), weights)
