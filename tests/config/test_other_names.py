"""Settings and values as other programs name them: one line says what to use here."""

import dataclasses

import pytest

from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.config.fields import flag_names, from_flags
from wgan_dist.config.other_names import ADVICE, OTHER_NAMES, OTHER_VALUES
from wgan_dist.sample import SampleSettings
from wgan_dist.utils.errors import UserError


def refusal(*arguments: str) -> str:
    """Return the error of a training command with these arguments."""
    with pytest.raises(UserError) as error:
        load_config(read_flags(list(arguments), Config))
    return str(error.value)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--lr=1e-4", "--critic_lr and --generator_lr"),
        ("--learning_rate=1e-4", "--critic_lr and --generator_lr"),
        ("--epochs=3", "--max_steps=2epoch"),
        ("--n_epochs=3", "--max_steps=2epoch"),
        ("--gpus=2", "accelerate launch --num_processes=N -m wgan_dist.train, or bash launch/multi_gpu.sh"),
        ("--batch=4", "use --batch_size"),
        ("--batchSize=4", "use --batch_size"),
        ("--size=64", "use --image_size"),
        ("--img-size=64", "use --image_size"),
        ("--resolution=64", "use --image_size"),
        ("--z_dim=100", "use --latent_dim"),
        ("--latent_size=100", "use --latent_dim"),
        ("--num_workers=4", "use --workers"),
        ("--output_dir=x", "use --run_dir"),
        ("--outdir=x", "use --run_dir"),
        ("--save_dir=x", "use --run_dir"),
        ("--name=x", "use --run_dir"),
        ("--lambda_gp=10", "use --gp_weight"),
        ("--gradient_penalty=10", "use --penalty or --gp_weight"),
        ("--beta1=0.5", "--betas=0.5,0.9"),
        ("--device=cuda", "CUDA_VISIBLE_DEVICES"),
        ("--fp16", "--mixed_precision=fp16"),
        ("--amp", "--mixed_precision=fp16"),
        ("--checkpoint=x", "use --resume or --init_from"),
        ("--load=x", "use --resume or --init_from"),
        ("--dataset=x", "use --data"),
        ("--dataroot=x", "use --data"),
        ("--data_dir=x", "use --data"),
    ],
)
def test_a_flag_of_another_program_is_answered_with_the_one_here(flag: str, words: str) -> None:
    refused = refusal(flag)
    name = flag.removeprefix("--").partition("=")[0]
    assert refused.startswith(f"unknown setting {name}; ")
    assert words in refused
    assert "\n" not in refused
    assert len(refused) < 200


def test_an_unknown_flag_is_answered_without_listing_all_names() -> None:
    assert refusal("--frobnicate=1") == "unknown setting frobnicate; --help lists the settings"


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--loss=wgan-gp", "; use --loss=wasserstein --penalty=gp"),
        ("--loss=WGANGP", "; use --loss=wasserstein --penalty=gp"),
        ("--loss=vanilla", "; use --loss=bce"),
        ("--mixed_precision=float16", "; use --mixed_precision=fp16"),
        ("--critic_norm=bn", "; use --critic_norm=batch"),
        ("--loss=mse", "loss=mse: expected one of wasserstein, bce, hinge, relativistic"),
    ],
)
def test_a_value_of_another_program_is_answered_with_the_one_here(flag: str, words: str) -> None:
    assert refusal(flag).endswith(words)


def test_only_settings_that_the_command_has_are_suggested() -> None:
    with pytest.raises(UserError, match=r"^unknown setting output_dir; use --out$"):
        read_flags(["--output_dir=x"], SampleSettings)
    with pytest.raises(UserError, match=r"^unknown setting gpus; --help lists the settings$"):
        read_flags(["--gpus=2"], SampleSettings)


@pytest.mark.parametrize("instead", sorted({instead for _, _, instead in OTHER_VALUES}))
def test_every_value_that_is_suggested_is_accepted(instead: str) -> None:
    from_flags(Config, read_flags(instead.split(), Config))


def test_every_setting_that_stands_for_another_name_exists_in_a_command() -> None:
    from export.settings import OnnxSettings
    from wgan_dist.evaluate import EvaluateSettings

    commands = (Config, SampleSettings, EvaluateSettings, OnnxSettings)
    known = {name for command in commands for name in flag_names(command)}
    assert {*OTHER_NAMES, *(setting for _, setting, _ in ADVICE)} <= known


def test_no_setting_of_training_is_taken_for_another_name() -> None:
    for field in dataclasses.fields(Config):
        read_flags([f"--{field.name}=x"], Config)
