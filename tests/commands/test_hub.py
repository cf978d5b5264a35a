"""A generator is saved and loaded, pushed to a Hub and fetched from it, and gives the same images everywhere."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.sampler import Sampler, enlarged, grid
from tests.exports import export_onnx
from tests.generators import OWN_NETWORK, small_spec, write_generator
from tests.hub_server import hub
from tests.processes import HANG_SECONDS, REPOSITORY
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.config.image_size import square
from wgan_dist.hub import PICTURE, Generator
from wgan_dist.models.inference import sample_latents
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.utils.errors import UserError

PUSH_AND_FETCH = """
import sys
from wgan_dist import Generator

source, name = sys.argv[1:]
print(Generator.from_pretrained(source).push_to_hub(name, token="a token"))
Generator.from_pretrained(name).save_pretrained("fetched")
"""
FROM_CACHE = """
import sys
from wgan_dist import Generator

print(Generator.from_pretrained(sys.argv[1]).sample(2).sum())
"""


def write_in_new_folder(folder: Path, name: str = "dcgan", distribution: str = "normal") -> Path:
    """Write a generator file in a new folder."""
    folder.mkdir()
    return write_generator(folder, small_spec(name), distribution=distribution)


def same(first: Generator, second: Generator) -> bool:
    """Return True if two generators give the same images for the same seed, bit for bit."""
    return np.array_equal(first.sample(5, seed=2), second.sample(5, seed=2))


def test_a_saved_generator_is_loaded_byte_for_byte(tmp_path: Path) -> None:
    path = write_in_new_folder(tmp_path / "made")
    generator = Generator.from_pretrained(path)
    generator.sample(1)
    assert generator.save_pretrained(tmp_path / "saved") is None
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {EMA_FILE, PICTURE, "README.md", "config.json"}
    assert (tmp_path / "saved" / EMA_FILE).read_bytes() == path.read_bytes()
    assert same(Generator.from_pretrained(tmp_path / "saved"), generator)
    description = json.loads((tmp_path / "saved" / "config.json").read_text())["description"]
    assert description == json.loads(json.dumps(dataclasses.asdict(generator_file.describe(path))))
    picture = np.asarray(Image.open(tmp_path / "saved" / PICTURE))
    np.testing.assert_array_equal(picture, enlarged(grid(generator.sample(64))))


def test_a_generator_says_what_it_makes(tmp_path: Path) -> None:
    generator = Generator.from_pretrained(write_in_new_folder(tmp_path / "made"))
    assert repr(generator) == (
        "Generator(image_size=16, channels=3, latent_dim=8, latent_distribution='normal', steps=3, network='dcgan', "
        "data='digits')"
    )
    assert str(generator) == repr(generator)
    assert "BatchNorm2d" in str(generator.network)


def test_runs_checkpoints_and_files_are_loaded(run_dir: Path) -> None:
    of_run = Generator.from_pretrained(str(run_dir))
    assert same(of_run, Generator.from_pretrained(run_dir / EMA_FILE))
    assert same(of_run, Generator.from_pretrained(run_dir / "checkpoints" / "step-00000006"))
    assert not same(of_run, Generator.from_pretrained(run_dir / "checkpoints" / "step-00000002"))


@pytest.mark.parametrize(("name", "distribution"), [("dcgan", "normal"), ("mlp_bn", "uniform"), ("sagan", "normal")])
def test_images_are_those_of_the_exported_graph(tmp_path: Path, name: str, distribution: str) -> None:
    path = write_in_new_folder(tmp_path / "made", name, distribution)
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "generator.onnx")})
    exported = Sampler(tmp_path / "generator.onnx").sample(9, seed=4)
    images = Generator.from_pretrained(path).sample(9, seed=4)
    assert images.shape == exported.shape
    assert images.dtype == np.uint8
    differences = np.abs(images.astype(int) - exported)
    assert differences.max() <= 1
    assert (differences > 0).mean() <= 0.001
    assert images.std() > 10


def test_points_are_those_of_the_exported_graph(tmp_path: Path) -> None:
    path = write_in_new_folder(tmp_path / "made", "points")
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "generator.onnx")})
    generator = Generator.from_pretrained(path)
    np.testing.assert_allclose(generator.sample(9), Sampler(tmp_path / "generator.onnx").sample(9), atol=1e-5)
    assert (generator.makes_points, generator.channels, generator.image_size) == (True, 2, (1, 1))
    generator.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / PICTURE).exists()


def test_forward_calls_the_network_and_attributes_come_from_the_description(tmp_path: Path) -> None:
    path = write_in_new_folder(tmp_path / "made", "mlp_bn", "uniform")
    generator = Generator.from_pretrained(path)
    z = torch.from_numpy(sample_latents(3, 8, "uniform", 7))
    torch.testing.assert_close(generator(z), generator_file.load(path).network(z), rtol=0, atol=0)
    assert (generator.latent_dim, generator.latent_distribution) == (8, "uniform")
    assert (generator.image_size, generator.channels, generator.makes_points) == ((16, 16), 3, False)
    assert not generator.training


def test_sampling_does_not_change_the_module(tmp_path: Path) -> None:
    generator = Generator.from_pretrained(write_in_new_folder(tmp_path / "made"))
    expected = generator.sample(4)
    generator.double().train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    np.testing.assert_array_equal(generator.sample(4), expected)
    assert generator.training
    after = generator.state_dict()
    assert all(after[name].dtype == before[name].dtype and after[name].equal(before[name]) for name in before)


def test_an_invalid_count_or_seed_is_refused(tmp_path: Path) -> None:
    generator = Generator.from_pretrained(write_in_new_folder(tmp_path / "made"))
    with pytest.raises(UserError, match="count=0: expected at least 1"):
        generator.sample(0)
    with pytest.raises(UserError, match="seed=1.5: expected a whole number"):
        generator.sample(1, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="seed=-1: expected at least 0"):
        generator.sample(1, seed=-1)


def _on_hub(code: str, *arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a new process, because huggingface_hub reads the address of the Hub when it is imported."""
    own = {"HF_HOME": str(cwd / "home"), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(REPOSITORY)}
    command = (sys.executable, "-c", code, *arguments)
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_a_generator_is_pushed_to_the_hub_and_fetched_and_cached(run_dir: Path, tmp_path: Path) -> None:
    with hub() as server:
        done = _on_hub(PUSH_AND_FETCH, str(run_dir), "somebody/digits", cwd=tmp_path, HF_ENDPOINT=server.url)
    assert done.returncode == 0, done.stderr
    stored = server.repositories["somebody/digits"]
    assert stored.keys() - {".gitattributes"} == {EMA_FILE, PICTURE, "README.md", "config.json"}
    assert stored[EMA_FILE] == (run_dir / EMA_FILE).read_bytes() == (tmp_path / "fetched" / EMA_FILE).read_bytes()
    assert b"critic iterations per generator step" in stored["README.md"]
    assert f"{server.url}/somebody/digits/commit/{server.commit('somebody/digits')}" in done.stdout
    done = _on_hub(FROM_CACHE, "somebody/digits", cwd=tmp_path, HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1")
    assert done.stdout == f"{Generator.from_pretrained(run_dir).sample(2).sum()}\n", done.stderr


def test_an_unknown_name_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("somebody/nothing", "runs/a/b/nothing"):
        with pytest.raises(UserError, match=f"^{name}: no such path exists, and the Hub cannot provide it: .+$"):
            Generator.from_pretrained(name, cache_dir=tmp_path)


def _snapshot(cache: Path, name: str, files: dict[str, bytes]) -> None:
    """Write a repository as huggingface_hub keeps it after a download."""
    folder, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    for path, content in files.items():
        (folder / "snapshots" / commit / path).write_bytes(content)


@pytest.mark.parametrize(
    "config", ['{"description": 5}', "[]", '{"generator": "own_hub_network:Own", "network": {}}', "not JSON"]
)
def test_a_foreign_config_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    (tmp_path / "own_hub_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    spec = NetworkSpec("own_hub_network:Own", small_spec("dcgan").arguments)
    about = Description(spec, "normal", "ema", 1, 1, 1797, "digits", "", "", "", "0")
    content = generator_file.to_bytes(nn.Linear(3, 4).state_dict(), about)
    _snapshot(tmp_path / "cache", "somebody/evil", {EMA_FILE: content, "config.json": config.encode()})
    with pytest.raises(UserError, match="^[^\n]+$"):
        Generator.from_pretrained("somebody/evil", cache_dir=tmp_path / "cache", local_files_only=True)
    assert not (tmp_path / "imported").exists()


def test_a_custom_network_is_imported_if_the_caller_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_hub_named.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = {"latent_dim": 3, "image_size": square(8), "channels": 1, "features": None, "norm": "auto"}
    about = Description(
        NetworkSpec("own_hub_named:Own", arguments), "normal", "ema", 1, 1, 1797, "digits", "", "", "", "0"
    )
    state = {f"body.{name}": value for name, value in nn.Linear(3, 64).state_dict().items()}
    content = generator_file.to_bytes(state, about)
    (tmp_path / EMA_FILE).write_bytes(content)
    _snapshot(tmp_path / "cache", "somebody/own", {EMA_FILE: content, "config.json": b"{}"})
    own = "own_hub_named:Own"
    local = Generator.from_pretrained(tmp_path / EMA_FILE, generator=own)
    fetched = Generator.from_pretrained(
        "somebody/own", cache_dir=tmp_path / "cache", local_files_only=True, generator=own
    )
    assert same(local, fetched)
    assert f"generator='{own}'" in str(local.generate_model_card())


def test_the_card_states_the_run_only_for_its_own_weights(run_dir: Path) -> None:
    generator = Generator.from_pretrained(run_dir)
    assert "critic iterations per generator step" in str(generator.generate_model_card())
    next(generator.network.parameters()).add_(1.0)
    assert "critic iterations per generator step" not in str(generator.generate_model_card())
