"""Checkpoints that are whole or absent, found again after any damage, and continue an optimizer bit for bit."""

import copy
import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer

from tests.checkpoint_files import save_files
from wgan_dist.checkpoints import safetensors_io
from wgan_dist.checkpoints.checkpoint import LoadedCheckpoint, TrainingObjects, take_snapshot, write_checkpoint
from wgan_dist.checkpoints.checkpoint_folders import newest_checkpoint
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE, Description
from wgan_dist.checkpoints.manifest import read_folder, write_folder
from wgan_dist.checkpoints.optimizer_state import load_optimizer_state, optimizer_state
from wgan_dist.checkpoints.run_dir import checkpoint_name
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config.image_size import square
from wgan_dist.models.registry import build_generator, generator_spec
from wgan_dist.training.buffer_snapshot import BufferSnapshot
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import partial_path

NEW = {"state.json": b'{"step": 2}', "generator.safetensors": bytes(range(40)), "empty": b""}
SPEC = generator_spec("mlp", 3, square(4), 1, 2, "none")
ABOUT = Description(SPEC, "normal", "ema", 3, 56, 1797, "digits", "", "", "", "0.1.0")
OLD = {"state.json": b'{"step": 1}', "generator.safetensors": bytes(40), "empty": b""}


def save(checkpoints: Path, step: int, files: dict[str, bytes], keep: int) -> Path:
    folder = checkpoints / checkpoint_name(step, 0)
    save_files(folder, files, keep)
    return folder


def save_old_and_new(checkpoints: Path) -> tuple[Path, Path]:
    return save(checkpoints, 1, OLD, keep=5), save(checkpoints, 2, NEW, keep=5)


def names(checkpoints: Path) -> list[str]:
    return sorted(path.name for path in checkpoints.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_snapshot_holds_the_values_of_its_moment(tmp_path: Path) -> None:
    network = make_network(torch.float32)
    optimizer = OPTIMIZERS["adam"](list(network.parameters()))
    scaler = GradScaler(optimizer, BufferSnapshot([]), torch.device("cpu"), dynamic=True)
    generator = build_generator(SPEC)
    objects = TrainingObjects(generator, generator, network, {"critic": optimizer, "generator": optimizer}, {})
    objects = dataclasses.replace(objects, grad_scalers={"critic": scaler, "generator": scaler})
    steps(network, optimizer, range(2))
    before = copy.deepcopy(network)
    snapshot = take_snapshot(objects, TrainState(3, 1, 7), {}, "data", dict.fromkeys((EMA_FILE, RAW_FILE), ABOUT))
    steps(network, optimizer, range(2, 4))
    folder = write_checkpoint(tmp_path, snapshot)
    assert folder.name == "step-00000003.001"
    loaded = LoadedCheckpoint(folder)
    restored = loaded.saved_state()
    assert restored.state == TrainState(3, 1, 7)
    loaded.restore(objects, restored)
    assert equal(network, before)
    steps(before, continued_from(optimizer, before), range(2, 4))
    steps(network, optimizer, range(2, 4))
    assert equal(network, before)


def continued_from(optimizer: Optimizer, network: nn.Module) -> Optimizer:
    continued = OPTIMIZERS["adam"](list(network.parameters()))
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return continued


def test_nothing_stays_of_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "checkpoints" / checkpoint_name(1, 0)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=f"cannot write {folder}: No space left on device"):
        write_folder(folder, [("a", b"whole")])
    assert names(folder.parent) == []


def test_a_checkpoint_is_read_as_it_was_saved(tmp_path: Path) -> None:
    old, new = save_old_and_new(tmp_path / "checkpoints")
    assert read_folder(old) == OLD
    assert read_folder(new) == NEW
    assert newest_checkpoint(tmp_path / "checkpoints", set_aside=True) == new


def test_the_manifest_can_be_checked_with_other_tools(tmp_path: Path) -> None:
    folder = save(tmp_path, 1, {"file": b"abc"}, keep=1)
    # SHA-256 of "abc": FIPS 180-2, appendix B.1.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json.loads((folder / "manifest.json").read_text()) == {"file": {"bytes": 3, "sha256": digest}}


@given(st.data())
@settings(deadline=None)
def test_any_flipped_bit_of_any_file_is_found_and_the_older_checkpoint_taken(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Path(scratch)
        old, new = save_old_and_new(checkpoints)
        file = new / data.draw(st.sampled_from([name for name, bytes_ in content(new).items() if bytes_]))
        flipped = bytearray(file.read_bytes())
        flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(flipped)
        damaged = content(new)
        with pytest.raises(UserError, match=f"checkpoint {new}: damaged"):
            read_folder(new)
        assert newest_checkpoint(checkpoints, set_aside=True) == old
        # Kept for a person to look at, under a name that is no checkpoint's.
        assert names(checkpoints) == [old.name, f"{new.name}.damaged"]
        assert content(checkpoints / f"{new.name}.damaged") == damaged


DAMAGES: dict[str, Callable[[Path], object]] = {
    "file missing": lambda folder: (folder / "state.json").unlink(),
    "file cut short": lambda folder: (folder / "state.json").write_bytes(NEW["state.json"][:-1]),
    "file emptied": lambda folder: (folder / "generator.safetensors").write_bytes(b""),
    "file grown": lambda folder: (folder / "empty").write_bytes(b"\0"),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "manifest emptied": lambda folder: (folder / "manifest.json").write_bytes(b""),
    "manifest of another kind": lambda folder: (folder / "manifest.json").write_bytes(b"[1]"),
    "manifest not UTF-8": lambda folder: (folder / "manifest.json").write_bytes(b'{"\xff": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_set_aside_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object]
) -> None:
    old, new = save_old_and_new(tmp_path)
    damage(new)
    assert newest_checkpoint(tmp_path, set_aside=True) == old
    message = capsys.readouterr().err
    assert f"checkpoint {new}: damaged" in message
    assert f"{new}.damaged" in message


def test_a_step_that_is_damaged_a_second_time_is_set_aside_too(tmp_path: Path) -> None:
    for _ in range(2):
        old, new = tmp_path / "step-00000001", save(tmp_path, 2, NEW, keep=5)
        if not old.exists():
            save(tmp_path, 1, OLD, keep=5)
        (new / "state.json").write_bytes(b"")
        assert newest_checkpoint(tmp_path, set_aside=True) == old
    assert len([name for name in names(tmp_path) if "damaged" in name]) == 2


@pytest.mark.parametrize("place", ["", "missing"])
def test_no_checkpoint_at_all_is_a_user_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(UserError, match=f"{tmp_path / place}: there is no complete checkpoint"):
        newest_checkpoint(tmp_path / place, set_aside=True)


def test_only_damaged_checkpoints_are_a_user_error_and_are_kept(tmp_path: Path) -> None:
    for folder in save_old_and_new(tmp_path):
        (folder / "state.json").unlink()
    with pytest.raises(UserError, match="there is no complete checkpoint"):
        newest_checkpoint(tmp_path, set_aside=True)
    assert names(tmp_path) == ["step-00000001.damaged", "step-00000002.damaged"]


@given(steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=5, unique=True).map(sorted), keep=st.integers(1, 4))
@example(steps=[99_999_999, 100_000_000], keep=1)
@settings(deadline=None, max_examples=25)
def test_the_newest_are_kept_and_the_newest_of_them_is_found(steps: list[int], keep: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folders = [save(Path(scratch), step, {"state.json": b"%d" % step}, keep) for step in steps]
        assert newest_checkpoint(Path(scratch), set_aside=True) == folders[-1]
        assert names(Path(scratch)) == sorted(folder.name for folder in folders[-keep:])


def test_nothing_is_pruned_when_the_new_checkpoint_cannot_be_written(tmp_path: Path) -> None:
    old, new = save_old_and_new(tmp_path)
    # A file in a folder that is not there: the second of three cannot be written.
    with pytest.raises(UserError, match="cannot write .*step-00000003"):
        save(tmp_path, 3, {"first": b"1", "missing/second": b"2", "third": b"3"}, keep=1)
    assert names(tmp_path) == [old.name, new.name]
    assert newest_checkpoint(tmp_path, set_aside=True) == new


def test_pruning_leaves_alone_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    others = ["step-00000000.damaged", "step-best", "notes"]
    for name in others:
        (tmp_path / name).mkdir()
    for step in (1, 2, 3):
        save(tmp_path, step, NEW, keep=1)
    assert names(tmp_path) == sorted([*others, "step-00000003"])


def test_what_a_killed_process_left_behind_is_neither_found_nor_in_the_way(tmp_path: Path) -> None:
    _, new = save_old_and_new(tmp_path)
    for _ in range(2):
        shutil.copytree(new, partial_path(tmp_path / "step-00000003"))
    assert newest_checkpoint(tmp_path, set_aside=True) == new
    newer = save(tmp_path, 3, NEW, keep=2)
    assert newest_checkpoint(tmp_path, set_aside=True) == newer
    # And once a checkpoint is written, it goes.
    assert names(tmp_path) == [new.name, newer.name]


# --- optimizers ---

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, 1e-3, betas=(0.5, 0.9), fused=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, 1e-3, alpha=0.9),
}


def make_network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)


def equal(ours: nn.Module, theirs: nn.Module) -> bool:
    """Bit for bit."""
    return all(torch.equal(mine, other) for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True))


def steps(network: nn.Module, optimizer: Optimizer, numbers: Iterable[int]) -> None:
    for number in numbers:
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(number)).to(next(network.parameters()).dtype)
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()


def through_files(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """An optimizer's state after safetensors and JSON."""
    tensors, groups = optimizer_state(optimizer)
    return safetensors_io.from_bytes(safetensors_io.to_bytes(tensors), "here"), json.loads(json.dumps(groups))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_an_optimizer_continues_bit_for_bit(
    make: Callable[[list[nn.Parameter]], Optimizer], dtype: torch.dtype
) -> None:
    network = make_network(dtype)
    optimizer = make(list(network.parameters()))
    steps(network, optimizer, range(3))
    optimizer.param_groups[0]["lr"] = 1 / 3000  # as a decaying rate leaves it
    resumed = copy.deepcopy(network)
    continued = make(list(resumed.parameters()))
    load_optimizer_state(continued, *through_files(optimizer), "here")
    for each, its in ((network, optimizer), (resumed, continued)):
        steps(each, its, range(3, 6))
    assert equal(resumed, network)
    assert continued.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_an_optimizer_that_never_stepped_comes_back(make: Callable[[list[nn.Parameter]], Optimizer]) -> None:
    network, twin = make_network(torch.float32), make_network(torch.float32)
    continued = make(list(twin.parameters()))
    load_optimizer_state(continued, *through_files(make(list(network.parameters()))), "here")
    steps(network, make(list(network.parameters())), range(2))
    steps(twin, continued, range(2))
    assert equal(twin, network)


@pytest.mark.parametrize("number", ["0_0", " 0", "+0", "00", "٠"])
def test_a_parameter_has_one_name(number: str) -> None:
    """Python's int takes each of these texts for the number of the first parameter."""
    network = make_network(torch.float32)
    optimizer = OPTIMIZERS["adam"](list(network.parameters()))
    steps(network, optimizer, range(1))
    tensors, groups = through_files(optimizer)
    renamed = {
        name.replace("0.", f"{number}.", 1) if name[:2] == "0." else name: value for name, value in tensors.items()
    }
    with pytest.raises(UserError, match=r"^here: the state of an optimizer of other networks, or damaged: .*"):
        load_optimizer_state(optimizer, renamed, groups, "here")


def changed(tensors: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    """Return the tensors with others under some names, `_` for the dot, and without those that are None."""
    renamed = {name.replace("_", ".", 1): value for name, value in changes.items()}
    both: dict[str, Tensor | None] = {**tensors, **renamed}
    return {name: value for name, value in both.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "rate"),
    [
        ({"0_exp_avg": None}, 0.1),
        ({"0_other": torch.zeros(4, 3)}, 0.1),
        ({"0_step": torch.zeros(3)}, 0.1),
        ({"0_exp_avg": torch.zeros(4, 3, dtype=torch.int32)}, 0.1),
        ({"9_exp_avg": torch.zeros(4, 3)}, 0.1),
        ({}, "0.1"),
        ({}, math.nan),
    ],
)
def test_the_state_of_an_optimizer_is_complete_and_of_its_parameters(
    tensors: dict[str, Tensor | None], rate: object
) -> None:
    network = make_network(torch.float32)
    optimizer = OPTIMIZERS["adam"](list(network.parameters()))
    steps(network, optimizer, range(1))
    state, groups = through_files(optimizer)
    with pytest.raises(UserError, match=r"^here: the state of an optimizer of other networks, or damaged: .*"):
        load_optimizer_state(optimizer, changed(state, **tensors), [groups[0] | {"lr": rate}], "here")


def test_a_file_changes_no_setting_of_an_optimizer_but_its_learning_rate() -> None:
    network = make_network(torch.float32)
    optimizer = OPTIMIZERS["adam"](list(network.parameters()))
    before = optimizer.state_dict()["param_groups"][0]
    hostile = before | {"lr": 0.5, "maximize": True, "weight_decay": 1000.0, "betas": [0.1], "amsgrad": True}
    load_optimizer_state(optimizer, {}, [hostile], "here")
    assert optimizer.state_dict()["param_groups"][0] == before | {"lr": 0.5}
