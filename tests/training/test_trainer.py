"""A run ends where it should whether it went straight, was interrupted, or was computed in other parts."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.checkpoint_files import save_files
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY, metrics, run
from wgan_dist.checkpoints import generator_file, manifest
from wgan_dist.checkpoints.checkpoint import CRITIC_FILE
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import load_config, to_yaml
from wgan_dist.models.lipschitz import OrthonormalLinear
from wgan_dist.train import train
from wgan_dist.training.schedule import critic_iterations_at
from wgan_dist.utils.errors import UserError

LAST = f"{CHECKPOINTS}/step-00000006"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(run_dir: Path, file: str = RAW_FILE) -> dict[str, torch.Tensor]:
    return load_file(run_dir / LAST / file)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"real_batch_per": "generator", "accumulation": "2"},
        {
            "penalty": "clip",
            "optimizer": "rmsprop",
            "generator": "mlp_bn",
            "critic": "mlp",
            "latent_distribution": "uniform",
        },
        {"critic_warmup": "true", "batch_size": "8"},
        # Three batches an epoch: the halves meet in the middle of one.
        {"lr_decay": "linear", "evaluate_every": "2", "evaluation_images": "70", "batch_size": "512"},
        {"workers": "2", "critic_norm": "layer", "penalty": "lp", "weight_histograms": "true", "ema_decay": "0"},
        {"generator": "sagan", "critic": "sagan", "spectral_norm": "both", "penalty": "none"},
        {
            "loss": "relativistic",
            "penalty": "r1r2",
            "penalty_every": "3",
            "generator": "dcgan_upsample",
            "critic": "dcgan_minibatch",
            "lr_decay": "cosine",
            "lr_decay_start": "0.5",
            "ema_half_life": "100",
        },
        {"generator": "upsample", "critic": "upsample", "penalty": "dragan", "loss": "bce", "reuse_latents": "true"},
        {"critic": "lipschitz", "penalty": "none"},
    ],
    ids=lambda settings: ",".join(settings) or "default",
)
def test_a_run_resumed_half_way_ends_bit_equal(tiny: dict[str, str], tmp_path: Path, settings: dict[str, str]) -> None:
    both = tiny | settings | {"n_critic": "2"}
    train(both | {"run_dir": str(tmp_path / "straight"), "checkpoint_every": "3"})
    train(both | {"run_dir": str(tmp_path / "halved"), "checkpoint_every": "3"})
    forget_after_step_3(tmp_path / "halved")
    train({"run_dir": str(tmp_path / "halved"), "resume": "true", "cache_dir": tiny["cache_dir"]})
    assert contents(tmp_path / "halved" / LAST) == contents(tmp_path / "straight" / LAST)
    assert (tmp_path / "halved" / EMA_FILE).read_bytes() == (tmp_path / "straight" / EMA_FILE).read_bytes()
    assert metrics(tmp_path / "halved") == metrics(tmp_path / "straight")


def forget_after_step_3(run_dir: Path) -> None:
    """As if the process had died after step 3's checkpoint: the newer one was never begun, records were."""
    for file in (run_dir / LAST).iterdir():
        file.unlink()
    (run_dir / LAST).rmdir()
    (run_dir / EMA_FILE).unlink()
    with (run_dir / "metrics.jsonl").open("a") as records:
        records.write('{"step": 7, "half a rec')


def test_resuming_a_finished_run_leaves_it_as_it_is(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run"), "checkpoint_every": "4"})
    before, published = contents(tmp_path / "run" / LAST), (tmp_path / "run" / EMA_FILE).read_bytes()
    (tmp_path / "run" / EMA_FILE).unlink()  # killed between the last checkpoint and this file
    train({"run_dir": str(tmp_path / "run"), "resume": "true", "cache_dir": tiny["cache_dir"]})
    assert contents(tmp_path / "run" / LAST) == before
    assert (tmp_path / "run" / EMA_FILE).read_bytes() == published
    assert [record["step"] for record in metrics(tmp_path / "run")] == [2, 4, 6]


def test_a_killed_process_is_resumed_to_the_same_end(tiny: dict[str, str], tmp_path: Path) -> None:
    settings = tiny | {"max_steps": "40", "checkpoint_every": "5"}
    train(settings | {"run_dir": str(tmp_path / "straight")})
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [*PYTHON, "-m", "wgan_dist.train", *flags, "--run_dir=killed"]
    process = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"})
    deadline = time.monotonic() + HANG_SECONDS
    while not list(tmp_path.glob(f"killed/{CHECKPOINTS}/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(
        *PYTHON,
        "-m",
        "wgan_dist.train",
        "--run_dir=killed",
        "--resume",
        f"--cache_dir={tiny['cache_dir']}",
        cwd=tmp_path,
    )
    name = f"{CHECKPOINTS}/step-00000040"
    assert contents(tmp_path / "killed" / name) == contents(tmp_path / "straight" / name)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "straight")


def test_evaluation_logging_and_pictures_do_not_touch_the_weights(
    tiny: dict[str, str], run_dir: Path, tmp_path: Path
) -> None:
    often = {
        "evaluate_every": "1",
        "evaluation_images": "70",
        "log_every": "1",
        "sample_every": "1",
        "checkpoint_every": "0",
        "weight_histograms": "true",
    }
    train(tiny | often | {"run_dir": str(tmp_path / "run")})
    assert (tmp_path / "run" / EMA_FILE).read_bytes() == (run_dir / EMA_FILE).read_bytes()


def test_the_seed_decides_everything(tiny: dict[str, str], run_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(1234)  # the global generator must not matter
    for seed in ("1", "2"):
        train(tiny | {"run_dir": str(tmp_path / seed), "seed": seed})
    assert (tmp_path / "1" / EMA_FILE).read_bytes() == (run_dir / EMA_FILE).read_bytes()
    assert (tmp_path / "2" / EMA_FILE).read_bytes() != (run_dir / EMA_FILE).read_bytes()


def test_records_count_the_real_images_of_every_critic_iteration(run_dir: Path) -> None:
    records = metrics(run_dir)
    assert [record["step"] for record in records] == [2, 4, 6]
    assert [record["seen_images"] for record in records] == [2 * 5 * 32, 4 * 5 * 32, 6 * 5 * 32]
    full = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(abs(each["images_per_second"] * each["seconds"] - 2 * 5 * 32) < 1e-6 for each in full)
    assert {"wasserstein", "gradient_penalty", "gradient_norm", "critic_loss", "generator_loss"} <= set(records[0])
    for record in records:
        rebuilt = -record["wasserstein"] + 10.0 * record["gradient_penalty"]
        assert record["critic_loss"] == pytest.approx(rebuilt, rel=1e-5)


def test_warm_up_counts_critic_iterations_as_the_schedule_says(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run"), "critic_warmup": "true", "max_steps": "1", "batch_size": "16"})
    state = json.loads((tmp_path / "run" / CHECKPOINTS / "step-00000001" / "state.json").read_text())
    assert state["state"]["total_critic_iterations"] == critic_iterations_at(0, 5, True) == 100


def test_clipping_bounds_every_weight_of_the_critic(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run"), "penalty": "clip", "clip_value": "0.003", "optimizer": "rmsprop"})
    greatest = max(float(value.abs().max()) for value in weights(tmp_path / "run", CRITIC_FILE).values())
    assert greatest == pytest.approx(0.003)
    assert "gradient_penalty" not in metrics(tmp_path / "run")[0]


def test_one_real_batch_per_generator_step_feeds_all_its_critic_iterations(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    """With n_critic=1 the two ways of consuming real images are the same, with 2 they are not."""
    for n_critic in ("1", "2"):
        for per in ("critic", "generator"):
            name = str(tmp_path / f"{n_critic}-{per}")
            train(tiny | {"run_dir": name, "n_critic": n_critic, "real_batch_per": per})
    ends = {path.name: (path / EMA_FILE).read_bytes() for path in tmp_path.iterdir()}
    assert ends["1-critic"] == ends["1-generator"]
    assert ends["2-critic"] != ends["2-generator"]


def test_accumulation_changes_rounding_alone_where_nothing_is_normalised_over_the_batch(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    fixed = tiny | {"generator_norm": "instance", "dtype": "float64"}
    for parts in ("1", "4"):
        train(fixed | {"run_dir": str(tmp_path / parts), "accumulation": parts})
    one, four = weights(tmp_path / "1"), weights(tmp_path / "4")
    assert max(float((one[name] - four[name]).abs().max()) for name in one) < 1e-9


def test_fine_tuning_starts_from_the_trained_pair(tiny: dict[str, str], run_dir: Path, tmp_path: Path) -> None:
    """With a vanishing learning rate the new run's networks are the old ones."""
    still = tiny | {"critic_lr": "1e-30", "generator_lr": "1e-30", "seed": "9", "max_steps": "1"}
    train(still | {"run_dir": str(tmp_path / "pair"), "init_from": str(run_dir)})
    (tmp_path / "copy.safetensors").write_bytes((run_dir / EMA_FILE).read_bytes())
    train(still | {"run_dir": str(tmp_path / "file"), "init_from": str(tmp_path / "copy.safetensors")})
    (tmp_path / "copy.safetensors").unlink()  # once begun, a run does not need what it began from
    train({"run_dir": str(tmp_path / "file"), "resume": "true", "cache_dir": tiny["cache_dir"]})
    new = tmp_path / "pair" / CHECKPOINTS / "step-00000001"
    for file in (RAW_FILE, CRITIC_FILE):
        old, now = load_file(run_dir / LAST / file), load_file(new / file)
        assert all(torch.equal(old[name], now[name]) for name in old if "running" not in name and "num" not in name)
    averaged = load_file(tmp_path / "file" / CHECKPOINTS / "step-00000001" / RAW_FILE)
    first = next(iter(name for name in averaged if name.endswith("weight")))
    assert torch.equal(averaged[first], load_file(run_dir / EMA_FILE)[first])


def test_fine_tuning_reads_and_never_touches_what_it_starts_from(
    tiny: dict[str, str], run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(run_dir, source)
    (source / LAST / CRITIC_FILE).write_bytes(b"damaged")
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    train(tiny | {"init_from": str(source), "run_dir": str(tmp_path / "run"), "max_steps": "1"})
    said = capfd.readouterr()
    assert "step-00000006: damaged: critic.safetensors" in said.err
    assert f"generator and critic of {source}/{CHECKPOINTS}/step-00000004" in said.out
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init_from": "nowhere"}, "init_from=.*nowhere: there is no such file or folder"),
        ({"latent_distribution": "uniform"}, "latent_distribution=uniform: .* was trained with normal"),
    ],
)
def test_fine_tuning_from_what_does_not_fit_is_refused(
    change: dict[str, str], message: str, tiny: dict[str, str], run_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny | {"init_from": str(run_dir / EMA_FILE), "run_dir": str(tmp_path / "run")} | change)
    assert list(tmp_path.iterdir()) == []


def test_divergence_stops_the_run_and_saves_the_last_good_state(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run"), "max_steps": "2", "checkpoint_every": "0", "max_skipped": "8"})
    good = load_file(tmp_path / "run" / CHECKPOINTS / "step-00000002" / CRITIC_FILE)
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace("gp_weight: 10.0", "gp_weight: 1.0e+38"))
    state = tmp_path / "run" / CHECKPOINTS / "step-00000002"
    rewrite_setting(state, "gp_weight", 1e38)
    said = (
        r"training has diverged: 10 updates of the critic in a row, up to step 4, were skipped because.*max_skipped=8"
    )
    with pytest.raises(UserError, match=said):
        train({"run_dir": str(tmp_path / "run"), "resume": "true", "cache_dir": tiny["cache_dir"], "max_steps": "6"})
    kept = load_file(tmp_path / "run" / CHECKPOINTS / "step-00000004" / CRITIC_FILE)
    assert all(torch.equal(kept[name], good[name]) for name in good)
    assert [record["step"] for record in metrics(tmp_path / "run")] == [2, 4]


def rewrite_setting(folder: Path, name: str, value: float) -> None:
    """As if the run had been trained with another value from the start."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != manifest.MANIFEST}
    state = json.loads(files["state.json"])
    state["config"][name] = value
    shutil.rmtree(folder)
    save_files(folder, files | {"state.json": json.dumps(state).encode()})


def test_a_lipschitz_critic_records_its_bound_with_each_checkpoint(
    tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tiny | {"critic": "lipschitz", "penalty": "none", "log_every": "0", "checkpoint_every": "3"}
    train(given | {"run_dir": str(tmp_path / "run")})
    bounds = {record["step"]: record["lipschitz_constant"] for record in metrics(tmp_path / "run")}
    assert bounds == {3: pytest.approx(1.0, abs=1e-4), 6: pytest.approx(1.0, abs=1e-4)}
    assert "warning" not in capsys.readouterr().out
    exact = OrthonormalLinear.weight
    monkeypatch.setattr(OrthonormalLinear, "weight", property(lambda layer: 1.1 * exact.__get__(layer)))
    train(given | {"run_dir": str(tmp_path / "steep")})
    said = r"warning: step 3: the critic's layers bound its Lipschitz constant by 1\.94\d+, more than 1 \+ 0\.001"
    assert re.search(said, capsys.readouterr().out)


def test_a_run_says_what_its_estimate_is(
    tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaled, seen = "which {} does not fix: it shows progress, and bounds no distance", "a 1-Lipschitz critic sees"
    for settings, said in (
        ({}, scaled.format("penalty=gp")),
        ({"penalty": "none", "spectral_norm": "both", "critic_norm": "none"}, scaled.format("spectral_norm=both")),
        ({"penalty": "none", "critic": "lipschitz"}, seen),
        ({"penalty": "none", "loss": "bce"}, ""),
    ):
        train(tiny | settings | {"run_dir": str(tmp_path / "run"), "dry_run": "true"})
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("W is ")]
        assert len(lines) == bool(said)
        assert said in "".join(lines)


# Iterations without the penalty are another graph, and the relativistic loss takes real samples.
LAZY = {"loss": "relativistic", "penalty": "r1r2", "penalty_every": "2", "critic": "dcgan_minibatch"}


@pytest.mark.parametrize("critic", [LAZY, {"critic": "lipschitz", "penalty": "none"}], ids=["lazy", "lipschitz"])
def test_compiled_training_equals_eager(tiny: dict[str, str], tmp_path: Path, critic: dict[str, str]) -> None:
    """In fp64, where fusing changes the last digit alone; the penalty's double backward is inside."""
    small = tiny | {"generator": "mlp", "dtype": "float64", "generator_features": "8"} | critic
    for compiled, graphs in (("false", "false"), ("true", "false"), ("true", "true")):
        settings = {"compile": compiled, "cuda_graphs": graphs, "max_steps": "6"}
        train(small | settings | {"run_dir": str(tmp_path / f"{compiled}-{graphs}")})
    eager, *others = (metrics(tmp_path / name) for name in ("false-false", "true-false", "true-true"))
    for other in others:
        for record, same in zip(eager, other, strict=True):
            assert record == pytest.approx(same, rel=1e-9)


def test_a_run_imports_nothing_large_that_it_does_not_use(tiny: dict[str, str], tmp_path: Path) -> None:
    """What torchvision imports takes 200 MB."""
    script = f"""
import sys
from wgan_dist.train import train
train({tiny | {"run_dir": str(tmp_path / "run")}!r})
print({{"torchvision"}} & sys.modules.keys())
"""
    assert run(*PYTHON, "-c", script, cwd=tmp_path).stdout.splitlines()[-1] == "set()"


def test_a_run_with_four_channels_draws_what_it_learns(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"channels": "4", "run_dir": str(tmp_path / "run")})
    with Image.open(tmp_path / "run/samples/step-00000006-ema.png") as picture:
        assert picture.mode == "RGBA"


def test_fine_tuning_from_networks_of_another_width_is_refused(
    tiny: dict[str, str], run_dir: Path, tmp_path: Path
) -> None:
    other = tiny | {"generator_features": "6", "init_from": str(run_dir), "run_dir": str(tmp_path / "run")}
    said = (
        "weights of another network.* The generator there is dcgan, .*features=4, .*; here it is dcgan, .*features=6, "
        f".*; --recipe={run_dir}/config.yaml takes its settings$"
    )
    with pytest.raises(UserError, match=said):
        train(other)
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses_other_classes_and_init_from_says_them(
    tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = tmp_path / "images", tmp_path / "labels.csv"
    folder.mkdir()
    for number in range(40):
        Image.new("L", (32, 32), number).save(folder / f"{number}.png")

    def label(names: str) -> None:
        table.write_text("file,label\n" + "".join(f"{number}.png,{names[number % 2]}\n" for number in range(40)))

    label("ab")
    given = tiny | {"data": str(folder), "labels": str(table), "run_dir": str(tmp_path / "run")}
    train(given)
    label("ba")
    with pytest.raises(UserError, match="its images or their classes are not those the run began with"):
        train({"run_dir": given["run_dir"], "resume": "true", "cache_dir": tiny["cache_dir"]})
    label("bc")
    for source in (given["run_dir"], f"{given['run_dir']}/{EMA_FILE}"):
        train(given | {"run_dir": str(tmp_path / "other"), "init_from": source, "dry_run": "true"})
        assert "other names or another order: a becomes b, b becomes c" in capsys.readouterr().out


def test_resume_refuses_other_mathematics_and_other_images(tiny: dict[str, str], run_dir: Path, tmp_path: Path) -> None:
    again = {"run_dir": str(run_dir), "resume": "true", "cache_dir": tiny["cache_dir"]}
    instead = f"To start another run from its weights: --init_from={run_dir} and another --run_dir"
    with pytest.raises(UserError, match=rf"n_critic=3 \(was 5\); critic_lr=0.5 \(was 0.0003\)\. {instead}$"):
        train(again | {"n_critic": "3", "critic_lr": "0.5"})
    for changed, line in (
        ({"latent_dim": "9"}, r"latent_dim=9 \(was 8\)"),
        ({"labels": "auto"}, r"labels=auto \(was none\)"),
    ):
        with pytest.raises(UserError, match=rf"{line}\. They need another run, .* its weights do not fit$"):
            train(again | changed)
    for number in range(40):
        Image.new("L", (32, 32), number).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=f"images are not those the run began with. {instead}$"):
        train(again | {"data": str(tmp_path)})


def test_a_finished_run_takes_a_description_and_a_licence(tiny: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = tiny | {"run_dir": str(run), "max_steps": "2"}
    train(given)
    assert "Missing: " in (run / "README.md").read_text()
    train(given | {"resume": "true", "description": "some digits", "license": "CC0-1.0"})
    about = generator_file.load(run / EMA_FILE).description
    assert (about.steps, about.description, about.license) == (2, "some digits", "CC0-1.0")
    assert "Missing: " not in (run / "README.md").read_text()


def test_the_artifact_says_nothing_of_where_or_when(run_dir: Path) -> None:
    content = (run_dir / EMA_FILE).read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    assert str(run_dir) not in header
    assert "cadence" not in header
    assert "log_every" not in header
    about = generator_file.load(run_dir / EMA_FILE).description
    assert (about.steps, about.seen_images, about.data, about.weights) == (6, 6 * 5 * 32, "digits", "ema")
    assert about.training_examples == 1797


def test_own_networks_train_export_and_are_never_imported_unasked(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_own_networks(tmp_path, monkeypatch)
    named = {"generator": "own_networks:Generator", "critic": "own_networks:Critic"}
    plain = {name: value for name, value in tiny.items() if not name.endswith("features")}
    train(plain | named | {"run_dir": str(tmp_path / "run"), "image_size": "8"})
    file = tmp_path / "run" / EMA_FILE
    with pytest.raises(UserError, match="--generator=own_networks:Generator"):
        generator_file.load(file)
    loaded = generator_file.load(file, "own_networks:Generator")
    assert loaded.network(torch.zeros(3, 8)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("setting", "name", "message"),
    [
        ("generator", "Flat", r"generator=own_networks:Flat: returns \[2, 64\] for \[2, 8\]: expected \[2, 1, 8, 8\]"),
        ("critic", "Mixing", "critic=own_networks:Mixing: BatchNorm mixes samples"),
        ("critic", "Broken", r"critic=own_networks:Broken: fails on an input of \[2, 1, 8, 8\]"),
    ],
)
def test_own_networks_that_do_not_fit_are_refused_before_the_run_exists(
    setting: str, name: str, message: str, tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_own_networks(tmp_path, monkeypatch)
    named = {"generator": "own_networks:Generator", "critic": "own_networks:Critic", "image_size": "8"}
    with pytest.raises(UserError, match=message):
        train(tiny | named | {setting: f"own_networks:{name}", "run_dir": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


OWN_NETWORKS = """
from torch import nn

class Generator(nn.Module):
    def __init__(self, latent_dim, image_size, channels, features, norm):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, channels * image_size[0] * image_size[1]), nn.Tanh())
        self.shape = (channels, *image_size)

    def forward(self, z):
        return self.body(z).unflatten(1, self.shape)

class Critic(nn.Module):
    def __init__(self, image_size, channels, **_):
        super().__init__()
        values = channels * image_size[0] * image_size[1]
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(values, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, images):
        return self.body(images).flatten()

class Flat(Generator):
    def forward(self, z):
        return self.body(z)

class Mixing(Critic):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.body.append(nn.BatchNorm1d(1))

class Broken(Critic):
    def forward(self, images):
        return self.body(images[:, :, 1:])
"""


def make_own_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own_networks.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)  # of an earlier test


def test_a_run_that_is_further_is_not_resumed_to_an_earlier_end(tiny: dict[str, str], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(tiny | {"run_dir": str(run_dir), "max_steps": "4"})
    before = files_of(run_dir)
    with pytest.raises(UserError, match="max_steps=3: the run is at step 4 already"):
        train({"run_dir": str(run_dir), "resume": "true", "cache_dir": tiny["cache_dir"], "max_steps": "3"})
    assert files_of(run_dir) == before


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fine_tuning_from_a_run_without_a_checkpoint_says_when_it_comes(tiny: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(load_config({})))
    with pytest.raises(UserError, match=f"^init_from={tmp_path}: this run has no checkpoint yet; the first comes"):
        train(tiny | {"init_from": str(tmp_path), "run_dir": str(tmp_path / "run")})
