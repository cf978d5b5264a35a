"""The recipes of the package: the figures of the systems that they reproduce, and the command that lists them."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.processes import PYTHON, REPOSITORY, run
from wgan_dist.config import RECIPE_NOTES, Config, load_config, read_recipe, recipe_names
from wgan_dist.config.command_line import read_flags
from wgan_dist.config.image_size import square
from wgan_dist.config.recipe_listing import list_recipes, print_recipes, show_recipe
from wgan_dist.data.samplers import GlobalBatchOrder
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.registry import build_critic, build_generator
from wgan_dist.recipes import RecipesSettings, recipe_to_show
from wgan_dist.training.schedule import Schedule, critic_iterations_at, make_schedule
from wgan_dist.utils.errors import UserError

EACH_RECIPE = pytest.mark.parametrize("name", recipe_names())

# The values where a system states none or uses its framework's default.
USUAL = {
    "latent_distribution": "normal",
    "loss": "wasserstein",
    "penalty": "gp",
    "gp_weight": 10.0,
    "optimizer": "adam",
    "adam_eps": 1e-8,
    "generator_batch_size": None,
    "real_batch_per": "critic",
    "reuse_latents": False,
    "critic_warmup": False,
    "spectral_norm": "none",
    "lr_decay": "none",
    "ema_decay": 0.0,
    "n_critic": 5,
    "accumulation": 1,
    "dtype": "float32",
}
CLIPPED = {"penalty": "clip", "clip_value": 0.01, "optimizer": "rmsprop", "critic_lr": 5e-5, "generator_lr": 5e-5}
MLP = CLIPPED | {"batch_size": 64, "latent_dim": 100, "image_size": square(28), "channels": 1, "reuse_latents": True}
DCGAN64 = {
    "batch_size": 128,
    "latent_dim": 100,
    "image_size": square(64),
    "channels": 3,
    "n_critic": 1,
    "penalty": "none",
}
TOY = {
    "batch_size": 256,
    "latent_dim": 2,
    "gp_weight": 0.1,
    "critic_lr": 1e-4,
    "generator_lr": 1e-4,
    "betas": (0.5, 0.9),
}
CIFAR = {
    "batch_size": 64,
    "generator_batch_size": 128,
    "latent_dim": 128,
    "image_size": square(32),
    "channels": 3,
    "critic_lr": 2e-4,
    "generator_lr": 2e-4,
    "betas": (0.0, 0.9),
    "lr_decay": "linear",
}
# The figures of the six systems and the papers that they are based on.
SYSTEMS: dict[str, dict[str, Any]] = {
    "catfaces64": {
        "batch_size": 32,
        "latent_dim": 100,
        "image_size": square(64),
        "channels": 3,
        "critic_lr": 1e-4,
        "generator_lr": 1e-4,
        "betas": (0.0, 0.9),
        "real_batch_per": "generator",
        "reuse_latents": True,
    },
    "dcgan64": DCGAN64 | {"loss": "bce", "critic_lr": 2e-4, "generator_lr": 2e-4, "betas": (0.5, 0.999)},
    "sagan64": DCGAN64 | {"spectral_norm": "both", "critic_lr": 4e-4, "generator_lr": 1e-4, "betas": (0.0, 0.9)},
    "mnist_upsample": {
        "batch_size": 512,
        "latent_dim": 128,
        "image_size": square(28),
        "channels": 1,
        "n_critic": 3,
        "critic_lr": 2e-4,
        "generator_lr": 2e-4,
        "betas": (0.5, 0.9),
        "adam_eps": 1e-7,
        "real_batch_per": "generator",
    },
    "mnist_mlp": MLP,
    "mnist_mlp_bn": MLP | {"grid_images": 25},
    "cifar10_resnet": CIFAR,
    "cifar10_acgan": CIFAR | {"critic_labels": "acgan", "critic_class_weight": 1.0, "generator_class_weight": 0.1},
    "wgan_original": CLIPPED | {"critic_warmup": True},
    "toy_8gaussians": TOY | {"data": ("8gaussians",)},
    "toy_25gaussians": TOY | {"data": ("25gaussians",)},
    "toy_swissroll": TOY | {"data": ("swissroll",)},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_has_the_figures_of_its_system(name: str) -> None:
    expected, config = USUAL | SYSTEMS[name], load_config({"recipe": name})
    assert {key: getattr(config, key) for key in expected} == expected


# The number of images in the data sets that the systems were trained on.
IMAGES = {"catfaces/": 15_500, "cifar10": 50_000, "mnist": 60_000, "fashion_mnist": 60_000, "digits": 1797}


def schedule_of(config: Config) -> Schedule:
    images = IMAGES.get(config.data[0], 100_000)
    return make_schedule(config, GlobalBatchOrder(0, images, config.batch_size).batches_per_epoch)


@pytest.mark.parametrize(
    ("name", "epochs", "steps_per_epoch"),
    [
        ("catfaces64", 30, 484),
        ("dcgan64", 25, 390),
        ("sagan64", 45, 390),
        ("mnist_upsample", 20, 117),  # 118 in the source, which keeps the incomplete last batch
        ("mnist_mlp", 50, 188),
        ("mnist_mlp_bn", 200, 188),
        ("cifar10_resnet", 1, 100_000),
    ],
)
def test_a_recipe_runs_for_the_epochs_of_its_system(name: str, epochs: int, steps_per_epoch: int) -> None:
    assert schedule_of(load_config({"recipe": name})).max_steps == epochs * steps_per_epoch


@EACH_RECIPE
def test_what_to_expect_names_the_generator_steps_that_are_run(name: str) -> None:
    found = re.match(r"([\d,]+) generator steps", read_recipe(name)["expect"])
    assert found
    assert int(found[1].replace(",", "")) == schedule_of(load_config({"recipe": name})).max_steps


def test_the_port_of_the_original_draws_a_grid_every_400_batches() -> None:
    assert schedule_of(load_config({"recipe": "mnist_mlp_bn"})).sample * 5 == 400


def test_the_original_has_100_critic_iterations_for_25_steps_and_on_every_500th() -> None:
    config = load_config({"recipe": "wgan_original"})
    counts = [critic_iterations_at(step, config.n_critic, config.critic_warmup) for step in range(1001)]
    assert [step for step, count in enumerate(counts) if count == 100] == [*range(25), 500, 1000]
    assert set(counts) == {5, 100}


def attention(channels: int) -> int:
    """Return the parameters of three 1×1 convolutions C → C/8 and one back, with biases, and of γ."""
    inner = channels // 8
    return 3 * (channels * inner + inner) + inner * channels + channels + 1


def conv(in_channels: int, out_channels: int, size: int = 3) -> int:
    return in_channels * out_channels * size**2 + out_channels


# The parameters that the sources state, or that follow from their description of the layers.
CIFAR_GENERATOR = 129 * 2048 + 3 * (2 * 256 + 2 * conv(128, 128) + conv(128, 128, 1)) + 256 + conv(128, 3)
CIFAR_CRITIC = conv(3, 128) + 7 * conv(128, 128) + conv(3, 128, 1) + conv(128, 128, 1) + 129
CLASSES = 10
COUNTS = {
    # 378,083 and 44,649 with 8 features.
    "catfaces64": (2688 * 64**2 + 25_756 * 64 + 3, 672 * 64**2 + 205 * 64 + 1),
    "dcgan64": (3_576_704, 2_765_568),
    "sagan64": (3_576_704 + attention(128) + attention(64), 2_765_568 + attention(256) + attention(512)),
    "mnist_upsample": (902_082, 4_305_409),
    "mnist_mlp": (1_486_352, 533_505),
    "mnist_mlp_bn": (1_510_032, 533_505),
    "cifar10_resnet": (CIFAR_GENERATOR, CIFAR_CRITIC),
    # Each of seven BatchNorms has a scale and a shift for each of ten classes, and the critic one more layer.
    "cifar10_acgan": (CIFAR_GENERATOR + 7 * 9 * 256, CIFAR_CRITIC + 129 * CLASSES),
    "cifar10_projection": (CIFAR_GENERATOR + 7 * 9 * 256, CIFAR_CRITIC + 128 * CLASSES),
    "wgan_original": (3_576_704, 2_765_568),
    "toy_8gaussians": (3 * 512 + 2 * 513 * 512 + 513 * 2, 3 * 512 + 2 * 513 * 512 + 513),
}


def networks(name: str) -> tuple[nn.Module, nn.Module]:
    config = load_config({"recipe": name})
    generator, critic = network_specs(config, config.channels or 3, CLASSES if config.labels != "none" else 0)
    return build_generator(generator), build_critic(critic)


@EACH_RECIPE
def test_the_networks_of_a_recipe_build_at_their_full_width_with_the_published_counts(name: str) -> None:
    counts = tuple(sum(parameter.numel() for parameter in network.parameters()) for network in networks(name))
    assert counts == COUNTS.get(name, counts)
    assert min(counts) > 10_000


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("catfaces64", "instance"),
        ("dcgan64", "batch"),
        ("sagan64", "batch"),
        ("wgan_original", "batch"),
        ("cifar10_resnet", "none"),
        ("resnet64", "layer"),
        ("resnet128", "layer"),
    ],
)
def test_the_critic_of_a_recipe_has_the_norm_of_its_system(name: str, norm: str) -> None:
    config = load_config({"recipe": name})
    _, critic = network_specs(config, 3)
    assert critic.arguments["norm"] == norm


def test_the_deeper_resnets_differ_in_their_size_alone() -> None:
    smaller, larger = (load_config({"recipe": name}) for name in ("resnet64", "resnet128"))
    changed = {name for name, value in vars(smaller).items() if getattr(larger, name) != value}
    assert changed == {"recipe", "image_size"}
    assert (smaller.image_size, larger.image_size) == (square(64), square(128))


# --- the command ---


@EACH_RECIPE
def test_a_recipe_tells_its_method_its_source_and_what_to_expect(name: str) -> None:
    notes = read_recipe(name)
    assert all(len(notes[note]) > 10 and "\n" not in notes[note] for note in RECIPE_NOTES)


def test_the_listing_has_a_line_for_each_recipe_with_its_data_size_and_notes() -> None:
    lines = list_recipes()
    assert [line.split()[0] for line in lines] == recipe_names()
    for line, name in zip(lines, recipe_names(), strict=True):
        config, notes = load_config({"recipe": name}), read_recipe(name)
        size = "" if config.generator == "points" else f" {config.image_size[0]}×{config.image_size[1]}"
        columns = [f"{config.data[0]}{size}", *(notes[note] for note in ("method", "source", "expect"))]
        assert line.removeprefix(name).strip() == " | ".join(columns)


@EACH_RECIPE
def test_what_is_shown_of_a_recipe_is_a_recipe_for_the_same_run(name: str, tmp_path: Path) -> None:
    lines = show_recipe(name)
    assert lines[:3] == [f"# {note}: {read_recipe(name)[note]}" for note in RECIPE_NOTES]
    copy = tmp_path / "copy.yaml"
    copy.write_text("\n".join(lines), encoding="utf-8")
    assert vars(load_config({"recipe": str(copy)})) | {"recipe": name} == vars(load_config({"recipe": name}))


def test_a_recipe_is_shown_with_what_its_base_decides_once() -> None:
    lines = show_recipe("sagan64")
    assert {"latent_dim: 100", "betas: 0,0.9", "loss: wasserstein", "generator: sagan"} <= set(lines)
    names = [line.split(":")[0] for line in lines]
    assert len(set(names)) == len(names)
    assert "base" not in names


def test_a_custom_recipe_file_is_shown_with_the_notes_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("seed: 3\nexpect: little\nn_critic: 2\n", encoding="utf-8")
    print_recipes(recipe_to_show(read_flags(["show", str(own)], RecipesSettings)))
    assert capsys.readouterr().out == "# expect: little\nseed: 3\nn_critic: 2\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show"], "recipes show: expected nothing, or show NAME"),
        (["show", "digits", "dcgan64"], "recipes show digits dcgan64: expected nothing, or show NAME"),
        (["digits"], "recipes digits: expected nothing, or show NAME"),
        (["--seed=1"], "unknown setting seed; there are no settings"),
    ],
)
def test_other_arguments_are_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        recipe_to_show(read_flags(arguments, RecipesSettings))
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("catface64", "unknown recipe catface64; did you mean catfaces64?"),
        ("xyz", "unknown recipe xyz; known are: catfaces64, cifar10_acgan"),
    ],
)
def test_an_unknown_recipe_is_not_shown(name: str, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        show_recipe(name)
    assert str(error.value).startswith(complaint)


def test_the_command_line_prints_or_ends_in_one_line_with_status_2(tmp_path: Path) -> None:
    command = (*PYTHON, "-m", "wgan_dist.recipes")
    assert run(*command, cwd=tmp_path).stdout.splitlines() == list_recipes()
    assert run(*command, "show", "digits", cwd=tmp_path).stdout.splitlines() == show_recipe("digits")
    for arguments in (["show", "digist"], ["list"]):
        done = run(*command, *arguments, cwd=tmp_path, fails=2)
        assert done.stdout == ""
        assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert "python -m wgan_dist.recipes show NAME" in run(*command, "show", "--help", cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []


def test_the_recipes_are_listed_without_importing_torch() -> None:
    code = (
        "import sys; from wgan_dist.config.recipe_listing import list_recipes, show_recipe; list_recipes();"
        "show_recipe('sagan64');"
        "print(sorted({'torch', 'numpy', 'accelerate'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code, cwd=REPOSITORY).stdout.strip() == "[]"


def test_a_long_chain_of_recipes_is_refused(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.yaml").write_text(f"base: {number + 1}.yaml\n")
    (tmp_path / "12.yaml").write_text("seed: 1\n")
    assert read_recipe(str(tmp_path / "5.yaml")) == {"seed": "1"}
    with pytest.raises(UserError, match=r"0\.yaml: extends more than 8 recipes, one after another"):
        read_recipe(str(tmp_path / "0.yaml"))


def test_a_setting_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\nn_critic: 2\nseed: 3\n")
    with pytest.raises(UserError, match="a setting is given twice"):
        read_recipe(str(tmp_path / "a.yaml"))
