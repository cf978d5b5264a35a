"""Settings that launchers put into the environment are taken or refused; they decide precision and device."""

import os
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import launch

from tests.processes import ACCELERATE, PYTHON, REPOSITORY, run
from wgan_dist.distributed import cores_per_process, is_launched, mixed_precision, uses_cpu
from wgan_dist.distributed.launcher import check_launcher
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.process import is_first_on_machine

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name == "LOCAL_RANK" or name.startswith("ACCELERATE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "launched"),
    [({}, False), ({"LOCAL_RANK": "0"}, True), ({"ACCELERATE_MIXED_PRECISION": "no"}, True)],
)
def test_launchers_are_recognised(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], launched: bool) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_launched() is launched


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, True),
        ({"LOCAL_RANK": "1", "RANK": "1"}, True),
        ({"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2"}, False),
        ({"LOCAL_RANK": "0", "RANK": "1", "WORLD_SIZE": "2"}, True),
        ({"LOCAL_RANK": "0", "RANK": "1", "WORLD_SIZE": "2", "SLURM_LOCALID": "1"}, False),
    ],
)
def test_a_process_is_a_sibling_only_where_a_launcher_started_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool
) -> None:
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_on_machine() is first


def test_a_rank_without_a_world_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="^LOCAL_RANK=1 without RANK: expected all of them"):
        check_launcher()


def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert cores_per_process() == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cores_per_process() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert cores_per_process() == 1


@pytest.mark.parametrize(
    ("requested", "launched_with", "expected"),
    [("auto", None, "no"), ("auto", "bf16", "bf16"), ("no", "fp16", "no"), ("fp16", None, "fp16"), ("no", "fp8", "no")],
)
def test_auto_is_the_precision_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch, requested: str, launched_with: str | None, expected: str
) -> None:
    if launched_with:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched_with)
    assert mixed_precision(requested, CPU) == expected


def test_a_precision_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UserError, match="mixed_precision=fp8: expected one of no, bf16, fp16"):
        mixed_precision("auto", CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(UserError, match="mixed_precision=bf16: this GPU has no bfloat16; expected no or fp16"):
        mixed_precision("bf16", GPU)
    assert mixed_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(
    ("has_gpu", "use_cpu", "expected"),
    [(False, None, True), (True, None, False), (True, "False", False), (True, "True", True), (True, "true", True)],
)
def test_the_launcher_may_choose_the_cpu_of_a_machine_with_a_gpu(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, use_cpu: str | None, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    if use_cpu:
        monkeypatch.setenv("ACCELERATE_USE_CPU", use_cpu)
    assert uses_cpu() is expected


def launch_as_accelerate_does(monkeypatch: pytest.MonkeyPatch, flags: str, config_file: Path) -> None:
    """Set the environment in which `accelerate launch` with these flags starts a process."""
    command = ["--config_file", str(config_file), "--main_process_port", "0", *flags.split(), "train.py"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(command))
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ""
        variables = launch.prepare_deepspeed_cmd_env(args)[1]
    elif args.cpu:
        variables = launch.prepare_simple_launcher_cmd_env(args)[1]
    else:
        variables = launch.prepare_multi_gpu_env(args)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--cpu",
        "--multi_gpu --num_processes 2",
        "--mixed_precision bf16 --debug --enable_cpu_affinity",
        "--dynamo_mode max-autotune --dynamo_use_fullgraph",  # of no backend
    ],
)
def test_what_accelerate_launch_hands_over_by_default_is_accepted(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    launch_as_accelerate_does(monkeypatch, flags, REPOSITORY / "accelerate_config.yaml")
    assert "ACCELERATE_DYNAMO_BACKEND" in os.environ
    check_launcher()


@pytest.mark.parametrize(
    ("flags", "lines", "message"),
    [
        ("--dynamo_backend inductor", "", "--dynamo_backend, .*BACKEND=INDUCTOR.*: expected no; .* --compile"),
        ("--cpu --dynamo_backend eager", "", "--dynamo_backend, .*BACKEND=EAGER.*: expected no; .* --compile"),
        ("", "dynamo_config: {dynamo_backend: CUDAGRAPHS}", "or dynamo_backend in its configuration file .*CUDAGRAPHS"),
        ("--use_deepspeed --zero_stage 2", "", "--use_deepspeed, or distributed_type: DEEPSPEED .*: expected --multi_"),
        ("", "distributed_type: DEEPSPEED", "distributed_type: DEEPSPEED .*ACCELERATE_USE_DEEPSPEED=true"),
        ("--use_fsdp", "", "--use_fsdp, or distributed_type: FSDP .*: expected --multi_gpu"),
        ("--use_megatron_lm", "", "--use_megatron_lm, or distributed_type: MEGATRON_LM .*: expected --multi_gpu"),
        ("", "parallelism_config: {parallelism_config_tp_size: 2}", "parallelism_config in .*: expected none"),
    ],
)
def test_settings_that_training_does_not_honour_are_refused_by_their_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, lines: str, message: str
) -> None:
    key = lines.partition(":")[0]
    shipped = (REPOSITORY / "accelerate_config.yaml").read_text().splitlines()
    kept = [line for line in shipped if not (key and line.startswith(f"{key}:"))]
    (tmp_path / "config.yaml").write_text("\n".join([*kept, lines]))
    launch_as_accelerate_does(monkeypatch, flags, tmp_path / "config.yaml")
    with pytest.raises(UserError, match=f"^accelerate launch: .*{message}"):
        check_launcher()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GRADIENT_ACCUMULATION_STEPS", "4", "^accelerate launch: .*STEPS=4.*: expected 1; .* --accumulation"),
        ("GRADIENT_ACCUMULATION_STEPS", "1", None),
        ("USE_SAGEMAKER", "true", "^accelerate launch: compute_environment: AMAZON_SAGEMAKER"),
        ("DYNAMO_BACKEND", "NO", None),
        ("FP8_BACKEND", "AUTO", None),  # says nothing unless the precision is fp8
        ("TORCH_DEVICE", "xpu", "^ACCELERATE_TORCH_DEVICE=xpu: expected it to be unset"),
        ("ADDED_LATER", "true", "^ACCELERATE_ADDED_LATER=true: expected it to be unset"),
        ("ADDED_LATER", "False", None),
        ("ADDED_LATER", "", None),
        ("USE_CPU_ADDED_LATER", "1", "^ACCELERATE_USE_CPU_ADDED_LATER=1: expected it to be unset"),
    ],
)
def test_only_known_variables_of_accelerate_are_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str | None
) -> None:
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    if message is None:
        check_launcher()
    else:
        with pytest.raises(UserError, match=message):
            check_launcher()


@pytest.mark.parametrize(
    ("flags", "message", "status"),
    [
        ("--cpu --dynamo_backend inductor", "--dynamo_backend, or dynamo_backend", "non-zero exit status 2"),
        ("--use_fsdp", "--use_fsdp, or distributed_type: FSDP", "exitcode  : 2 "),
    ],
)
def test_a_refused_launch_ends_in_one_line_and_the_status_of_a_wrong_setting(
    flags: str, message: str, status: str, tmp_path: Path
) -> None:
    """The launcher itself then ends in a traceback of its own and status 1."""
    done = run(*ACCELERATE, "--main_process_port", "0", *flags.split(), "-m", "wgan_dist.train", cwd=tmp_path, fails=1)
    assert f"\n{done.stderr}".count(f"\nerror: accelerate launch: {message}") == 1
    assert status in done.stderr
    assert str(REPOSITORY / "wgan_dist") not in done.stderr
    assert list(tmp_path.iterdir()) == []


OWN_ACCELERATOR = """
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from wgan_dist import distributed
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.process import is_first_on_machine

for settings in ({}, {"dynamo_backend": "eager"}, {"mixed_precision": "bf16"}):
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, **settings)
    try:
        print(distributed.start(threads=1).device)
    except UserError as error:
        print(error)
"""


def test_an_accelerator_of_the_callers_own_program_is_checked(tmp_path: Path) -> None:
    """Accelerate keeps one state for all, so that the settings of the first one count."""
    (tmp_path / "own.py").write_text(OWN_ACCELERATOR)
    plain, dynamo, precision = run(*PYTHON, "own.py", cwd=tmp_path).stdout.splitlines()
    assert plain == "cpu"
    assert dynamo == "accelerate has dynamo_backend=EAGER: expected NO"
    assert precision.startswith("cannot start: AcceleratorState has already been initialized")
