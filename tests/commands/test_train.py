"""The training command as a person types it: what it prints, what it leaves, how it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import ACCELERATE, HANG_SECONDS, PYTHON, REPOSITORY, metrics, run
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import Config, is_run
from wgan_dist.config.command_line import read_flags
from wgan_dist.config.image_size import square
from wgan_dist.models.registry import build_generator, generator_spec
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

TRAIN = (*PYTHON, "-m", "wgan_dist.train")
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
runpy.run_module("wgan_dist.train", run_name="__main__")
"""


def as_flags(settings: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def test_help_names_every_setting_without_importing_torch(tmp_path: Path) -> None:
    done = run(sys.executable, "-c", WITHOUT_TORCH, "--help", cwd=tmp_path)
    for name in Config.__dataclass_fields__:
        assert f"--{name} " in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batchsize=3"], "unknown setting batchsize; use --batch_size"),
        (["--n_critic=many"], "n_critic=many: expected a whole number"),
        (["--n_critic=0"], "n_critic=0: expected at least 1"),
        (["--penalty=gpp"], "penalty=gpp: expected one of gp, lp, r1, r1r2, dragan, clip, none"),
        (["64"], "unexpected argument 64: settings are given as --name=value"),
        (["--recipe=digit"], "unknown recipe digit; did you mean digits?"),
        (["--resume"], "resume=true: expected --run_dir, the folder of the run to continue"),
        (["--resume=auto"], "resume=auto: expected --run_dir, the folder of the run to continue"),
        (["--run_dir", "--n_critic=1"], "run_dir: expected a value, as --run_dir=…"),
        (["--resume", "--run_dir=none"], "run_dir=none: there is no run to resume: there is no such folder"),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2_before_torch_is_imported(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    done = run(sys.executable, "-c", WITHOUT_TORCH, *flags, cwd=tmp_path, fails=2)
    assert done.stderr == f"error: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_command_line_without_flags_is_one_of_defaults() -> None:
    assert read_flags([], Config) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": "1798"}, "batch_size=1798: expected at most the number of images, 1797"),
        (
            {"generator": "sagan", "image_size": "256"},
            "image_size=256: the sagan generator supports at most 16,384 pixels",
        ),
        ({"generator": "dcgam"}, "unknown generator dcgam; did you mean dcgan?"),
        ({"generator": "no_such_module:G"}, "generator=no_such_module:G: cannot be imported"),
        ({"critic": "mlp", "critic_norm": "layer"}, "critic_norm=layer: the mlp critic supports none"),
        ({"init_from": "nowhere"}, "nowhere"),
        ({"data": "digit"}, "did you mean digits?"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    settings: dict[str, str], message: str, tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        train(tiny | settings)
    assert list(tmp_path.iterdir()) == []


def test_dry_run_checks_everything_and_writes_nothing(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(*TRAIN, *as_flags(tiny), "--dry_run", cwd=tmp_path)
    assert done.stdout.startswith(
        "1 process on cpu (1 CPU thread each), float32\n1,797 images of digits; recipe=digits "
    )
    last = r"dry run: new weights; settings, data and networks fit: critic of [\d,]+ parameters, generator of [\d,]+"
    assert re.match(last, done.stdout.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="^image_size=256: the sagan generator supports at most 16,384 pixels$"):
        train(tiny | {"dry_run": "true", "generator": "sagan", "image_size": "256"})
    assert "images of" not in capsys.readouterr().out  # which would take long to decode


def test_users_own_command_makes_the_run_folder(tiny: dict[str, str], tmp_path: Path) -> None:
    done = run(*ACCELERATE, "-m", "wgan_dist.train", *as_flags(tiny), cwd=tmp_path)
    folder = tmp_path / "runs" / "0001"
    found = {path.name for path in folder.iterdir()}
    files = {"config.yaml", "metrics.jsonl", "generator.safetensors", "README.md"}
    assert found == files | {"samples", "tensorboard", "checkpoints", ".lock"}
    assert sorted(path.name for path in (folder / CHECKPOINTS).iterdir()) == [f"step-0000000{n}" for n in (2, 4, 6)]
    names = [f"step-0000000{step}-{kind}.png" for step in (3, 6) for kind in ("ema", "raw")]
    assert sorted(path.name for path in (folder / "samples").iterdir()) == names
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert set(saved) == set(Config.__dataclass_fields__) - {"run_dir", "resume", "dry_run", "profile", "cache_dir"}
    first = r"\nfirst step took [\d.]+ s and ended \d+\.\d s after the start; about \d.* s remaining\n"
    assert re.search(first, done.stdout)
    lines = [line for line in done.stdout.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["2/6", "4/6", "6/6"]
    assert all(word in lines[-1] for word in ("W ", "penalty ", "|∇D| ", "img/s ", "remaining"))
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_tensorboard_holds_what_metrics_and_samples_hold(run_dir: Path) -> None:
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    drawn = [(event.step, event.value) for event in events.Scalars("critic/wasserstein_estimate")]
    assert drawn == [(record["step"], pytest.approx(record["wasserstein"], rel=1e-6)) for record in records]
    pictures = events.Images("fixed_noise/ema")
    assert [event.step for event in pictures] == [3, 6]
    with Image.open(run_dir / "samples/step-00000006-ema.png") as picture:
        assert picture.width == -(-512 // pictures[-1].width) * pictures[-1].width > pictures[-1].width
    assert events.Tags()["graph"]
    assert b"n_critic" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_averaged_weights_are_far_from_the_initial_ones_after_a_short_run(tiny: dict[str, str], tmp_path: Path) -> None:
    """Without warm-up 0.999^6 of the initial weights would be left."""
    spec = generator_spec("dcgan", 8, square(32), 1, 4, "auto")
    start = build_generator(spec, seed=1).state_dict()
    train(tiny | {"run_dir": str(tmp_path / "run"), "generator_lr": "0.01"})
    folder = tmp_path / "run" / CHECKPOINTS / "step-00000006"
    raw, ema = load_file(folder / "generator_raw.safetensors"), load_file(folder / EMA_FILE)
    moved = sum(float((raw[name] - start[name]).abs().sum()) for name in raw if name.endswith("weight"))
    followed = sum(float((ema[name] - start[name]).abs().sum()) for name in raw if name.endswith("weight"))
    assert followed > 0.3 * moved


def test_an_existing_run_is_never_written_over(tiny: dict[str, str], run_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    with pytest.raises(UserError, match="exists already; --resume continues it"):
        train(tiny | {"run_dir": str(run_dir)})
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_resume_auto_begins_where_there_is_none_and_goes_on_where_there_is(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tiny | read_flags(["--run_dir=run", "--resume=auto"], Config)
    train(settings)
    assert "new weights" in capsys.readouterr().out
    train(settings | {"max_steps": "8"})
    assert "step 6 of run/checkpoints/step-00000006" in capsys.readouterr().out
    assert is_run(tmp_path / "run")


def test_a_run_that_saved_nothing_says_how_to_start_it_again(tiny: dict[str, str], tmp_path: Path) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run")})
    shutil.rmtree(tmp_path / "run" / CHECKPOINTS)
    with pytest.raises(UserError, match="nothing was saved yet; --resume=auto starts it again"):
        train({"run_dir": str(tmp_path / "run"), "resume": "true", "cache_dir": tiny["cache_dir"]})
    train({"run_dir": str(tmp_path / "run"), "resume": "auto", "cache_dir": tiny["cache_dir"]})
    assert [record["step"] for record in metrics(tmp_path / "run")] == [2, 4, 6]


def test_own_pictures_of_every_kind_train(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos" / "nested"
    photos.mkdir(parents=True)
    for number, (mode, suffix) in enumerate(
        [("RGB", "jpg"), ("RGBA", "png"), ("L", "bmp"), ("P", "png"), ("RGB", "webp"), ("P", "gif"), ("L", "tif")] * 5
    ):
        Image.new(mode, (40 + number, 50)).save(photos / f"{number}.{suffix}")
    for name in ("README.md", "Thumbs.db", "a.txt", "b.txt"):
        (photos.parent / name).write_text("no image")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    own = {name: value for name, value in tiny.items() if name != "seed"} | {"data": "photos", "image_size": "16"}
    with pytest.raises(UserError, match="^1 unreadable images: 'nested/broken.jpg': "):
        train(own)
    assert not (tmp_path / "runs").exists()
    capsys.readouterr()
    train(own | {"skip_bad_images": "true"})
    said = capsys.readouterr()
    assert "left out 1 unreadable images, the first: 'nested/broken.jpg'" in said.err
    assert "35 images of photos" in said.out
    assert "\nleft out 4 files that are no images: .txt 2, .db 1, .md 1\n" in said.out
    assert "channels=3" in said.out


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tiny: dict[str, str], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not permit mounting")
    try:
        many = tiny | {"run_dir": "disk/run", "checkpoint_every": "1", "keep_checkpoints": "99", "max_steps": "99"}
        done = run(*TRAIN, *as_flags(many), cwd=tmp_path, fails=2)
        assert done.stderr.splitlines()[-1].startswith("error: cannot write disk/run/")
        assert done.stderr.splitlines()[-1].endswith("No space left on device")
        assert not [path for path in disk.rglob("*") if path.name.endswith(".partial")]
        assert (disk / "run" / EMA_FILE).exists()
        resumed = {"run_dir": str(disk / "run"), "resume": "true", "cache_dir": tiny["cache_dir"], "dry_run": "true"}
        train(resumed)  # reads the newest checkpoint
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_goes_on_when_nobody_reads_it_any_more(tiny: dict[str, str], tmp_path: Path) -> None:
    command = [*TRAIN, *as_flags(tiny), "--log_every=1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(HANG_SECONDS) == 0, errors
    assert (tmp_path / "runs/0001/checkpoints/step-00000006").is_dir()
