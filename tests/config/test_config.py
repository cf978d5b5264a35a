"""Config: recipes and flags, checks, the saved form, and what a resumed run may change."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wgan_dist.config import (
    RECIPE_NOTES,
    Config,
    as_dict,
    changed_settings,
    differences,
    in_steps,
    load_config,
    recipe_names,
    to_yaml,
)
from wgan_dist.config.config import LOSSES, PENALTIES
from wgan_dist.config.help import help_text
from wgan_dist.config.image_size import ImageSize
from wgan_dist.config.recipe_files import RECIPES
from wgan_dist.losses import adversarial, gradient_penalty
from wgan_dist.utils.errors import UserError

PUBLIC = """
recipe data run_dir resume init_from seed max_steps batch_size real_batch_per image_size latent_dim
latent_distribution generator_features critic_features spectral_norm n_critic loss penalty gp_weight dragan_std
clip_value generator_batch_size reuse_latents adam_eps critic_lr generator_lr ema_decay dtype mixed_precision compile
workers log_every sample_every grid_images checkpoint_every evaluate_every
"""

# A value of each setting that is not its default.
OTHER: dict[str, Any] = {
    "recipe": "other",
    "run_dir": "runs/other",
    "resume": "auto",
    "init_from": "runs/before",
    "seed": 1,
    "max_steps": "3epoch",
    "dry_run": True,
    "profile": 3,
    "data": ("a/", "b/"),
    "image_size": ImageSize(48, 96),
    "resize": "pad",
    "channels": 3,
    "levels": (0.0, 4095.0),
    "axes": "nhwc",
    "channel_names": ("red", "green", "blue"),
    "unit": "K",
    "labels": "auto",
    "class_balance": True,
    "background": "000000",
    "flip": True,
    "skip_bad_images": True,
    "cache_dir": "cache",
    "workers": 2,
    "holdout": 0.1,
    "tf32": True,
    "generator": "mlp",
    "critic": "mlp",
    "generator_features": 8,
    "critic_features": 8,
    "generator_norm": "none",
    "critic_norm": "none",
    "generator_labels": "embedding",
    "critic_labels": "acgan",
    "spectral_norm": "both",
    "latent_dim": 100,
    "latent_distribution": "uniform",
    "loss": "bce",
    "batch_size": 32,
    "generator_batch_size": 128,
    "real_batch_per": "generator",
    "accumulation": 2,
    "n_critic": 3,
    "critic_warmup": True,
    "reuse_latents": True,
    "penalty": "lp",
    "gp_weight": 0.1,
    "penalty_every": 4,
    "dragan_std": 0.5,
    "critic_class_weight": 0.5,
    "generator_class_weight": 0.5,
    "clip_value": 0.02,
    "augment": "diffaugment",
    "augment_policy": ("translation", "cutout"),
    "freeze_critic": 2,
    "optimizer": "rmsprop",
    "betas": (0.5, 0.9),
    "adam_eps": 1e-7,
    "critic_lr": 2e-4,
    "generator_lr": 5e-5,
    "lr_decay": "linear",
    "lr_decay_start": 0.5,
    "ema_decay": 0.0,
    "ema_half_life": 1000,
    "dtype": "float64",
    "mixed_precision": "bf16",
    "deterministic": True,
    "max_skipped": 7,
    "threads": 1,
    "fast_ops": False,
    "compile": True,
    "cuda_graphs": True,
    "timeout": 10,
    "log_every": 1,
    "sample_every": "1epoch",
    "grid_images": 25,
    "checkpoint_every": 20,
    "keep_checkpoints": 1,
    "weight_histograms": True,
    "trackers": ("mlflow", "wandb"),
    "evaluate_every": 10,
    "certify_every": 7,
    "metrics": ("sliced_wasserstein", "fid"),
    "evaluation_images": 2048,
    "feature_extractor": "features.pt",
    "classifier": "classifier.pt",
    "inception_weights": "inception.pth",
    "best_metric": "fid",
    "early_stop": "best",
    "patience": "2epoch",
    "description": "cats",
    "license": "CC0-1.0",
}
# The settings that a resumed run may change.
FREE = """
channel_names unit
fast_ops recipe run_dir resume init_from max_steps dry_run data cache_dir skip_bad_images workers threads timeout
log_every
sample_every deterministic cuda_graphs max_skipped grid_images evaluate_every certify_every metrics evaluation_images
feature_extractor classifier inception_weights best_metric early_stop patience checkpoint_every keep_checkpoints
weight_histograms trackers description license profile
"""


def write(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def make_run(folder: Path, config: Config) -> str:
    write(folder / "config.yaml", to_yaml(config))
    return str(folder)


def lines_of(recipe: Path) -> dict[str, Any]:
    """Return the lines of a recipe and, below them, those of its base, without the description of other data."""
    lines = dict(yaml.load(recipe.read_text(), yaml.BaseLoader))
    base = lines.pop("base", None)
    below = lines_of(recipe.parent / f"{base}.yaml") if base else {}
    if "data" in lines:
        below.pop("description", None)
    return below | lines


def by_flags(recipe: Path) -> Config:
    """Return the config of a recipe's settings given as flags."""
    lines = {name: value for name, value in lines_of(recipe).items() if name not in RECIPE_NOTES}
    flags = {name: ",".join(value) if isinstance(value, list) else value for name, value in lines.items()}
    return load_config({"data": "none"} | flags)


@pytest.mark.parametrize("name", PUBLIC.split())
def test_every_public_setting_is_a_flag_with_help(name: str) -> None:
    help_of = {field.name: field.metadata["help"] for field in dataclasses.fields(Config)}
    assert f"--{name} {help_of[name]}" in " ".join(help_text(Config, "").split())


def test_every_help_is_a_sentence_below_a_heading() -> None:
    settings_of_config = dataclasses.fields(Config)
    assert all(field.metadata["help"][0].isupper() or field.name == "channels" for field in settings_of_config)
    assert all(field.metadata["help"].endswith(".") for field in settings_of_config)
    assert settings_of_config[0].metadata["group"]


def test_the_choices_of_losses_and_penalties_are_those_that_exist() -> None:
    assert tuple(adversarial.LOSSES) == LOSSES
    assert {*gradient_penalty.PENALTIES, "clip", "none"} == set(PENALTIES)


def test_flags_come_before_the_recipe_and_the_recipe_before_the_defaults(tmp_path: Path) -> None:
    recipe = write(tmp_path / "own.yaml", "batch_size: 32\nn_critic: 3\ndata: photos/\n")
    config = load_config({"recipe": recipe, "n_critic": "2"})
    assert config == Config(recipe=recipe, data=("photos/",), batch_size=32, n_critic=2)


def test_without_data_the_recipe_is_digits() -> None:
    expected = dataclasses.replace(by_flags(RECIPES / "digits.yaml"), recipe="digits", seed=7)
    assert load_config({"seed": "7"}) == expected != Config(recipe="digits", seed=7)


def test_with_data_there_is_no_recipe_unless_one_is_named() -> None:
    assert load_config({"data": "a/,b/"}) == Config(data=("a/", "b/"))
    expected = dataclasses.replace(by_flags(RECIPES / "digits.yaml"), recipe="digits", data=("a/",), description="")
    assert load_config({"data": "a/", "recipe": "digits"}) == expected


@pytest.mark.parametrize(
    ("flags", "description", "license"),
    [
        ({}, "cats", "MIT"),
        ({"data": "cats/, more.zip"}, "cats", "MIT"),
        ({"data": ("cats/", "more.zip")}, "cats", "MIT"),
        ({"data": "dogs/"}, "", ""),
        ({"data": "cats/"}, "", ""),
        ({"data": "dogs/", "description": "dogs"}, "dogs", ""),
        ({"data": "dogs/", "license": "ISC"}, "", "ISC"),
        ({"description": ""}, "", "MIT"),
    ],
)
def test_the_description_and_licence_of_a_recipe_are_those_of_its_data(
    tmp_path: Path, flags: dict[str, Any], description: str, license: str
) -> None:
    recipe = write(
        tmp_path / "cats.yaml", "data: [cats/, more.zip]\ndescription: cats\nlicense: MIT\nn_critic: 2\nmethod: m"
    )
    config = load_config({"recipe": recipe} | flags)
    assert (config.description, config.license, config.n_critic) == (description, license, 2)


def test_a_recipe_without_data_describes_the_data_that_it_is_used_with(tmp_path: Path) -> None:
    recipe = write(tmp_path / "own.yaml", "description: cats")
    assert load_config({"recipe": recipe, "data": "cats/"}).description == "cats"


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_of_the_package_describes_the_data_of_a_user(name: str) -> None:
    assert load_config({"recipe": name, "data": "my_photos/"}).description == ""


def test_a_resumed_run_keeps_its_description_where_its_data_were_moved(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Config(data=("cats/",), description="cats", license="MIT"))
    config = load_config({"run_dir": run, "resume": "true", "data": "moved/cats/"})
    assert (config.data, config.description, config.license) == (("moved/cats/",), "cats", "MIT")
    fresh = load_config({"recipe": f"{run}/config.yaml", "data": "dogs/"})
    assert (fresh.data, fresh.description, fresh.license) == (("dogs/",), "", "")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_of_the_package_loads_by_name_and_by_path(path: Path) -> None:
    expected = by_flags(path)
    for recipe in (path.stem, str(path)):
        assert load_config({"recipe": recipe}) == dataclasses.replace(expected, recipe=recipe)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("batch_size", "1e3"),
        ("generator_lr", "1e-4"),
        ("max_steps", "3epoch"),
        ("betas", "0.5, 0.9"),
        ("channels", "auto"),
        ("critic_warmup", "yes"),
        ("mixed_precision", "no"),
        ("background", "000000"),
        ("background", "010203"),
        ("description", "yes"),
        ("description", "1.10"),
        ("description", "0x10"),
        ("description", "2020-12-05"),
        ("description", "2020-13-45"),
    ],
)
def test_a_value_means_the_same_in_a_recipe_as_in_a_flag(tmp_path: Path, name: str, text: str) -> None:
    """YAML 1.1 reads some texts as numbers, booleans and dates."""
    recipe = write(tmp_path / "own.yaml", f"{name}: {text}\n")
    assert getattr(load_config({"recipe": recipe}), name) == getattr(load_config({name: text}), name)


def test_an_empty_recipe_is_the_defaults(tmp_path: Path) -> None:
    recipe = write(tmp_path / "own.yml", "# nothing yet\n")
    assert load_config({"recipe": recipe}) == Config(recipe=recipe)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bach_size: 3", "unknown setting bach_size; did you mean batch_size?"),
        ("3: 4", "unknown setting 3;"),
        ("batch_size: many", "batch_size=many: expected a whole number"),
        ("batch_size: [1, 2]", "batch_size=["),
        ("betas: 0.5", "betas=0.5: expected 2 values separated by commas"),
        ("max_steps: true", "expected a number of generator steps, such as 500 or 10k, or of epochs, such as 2epoch"),
        ("run_dir: runs/a", "run_dir is given on the command line, not in a file"),
        ("- batch_size", "expected lines of the form setting: value"),
        ("batch_size 3", "expected lines of the form setting: value"),
        ("data: [a", "is not YAML"),
        ("data: a\n  b: c\n\td: e", "is not YAML"),
    ],
)
def test_a_wrong_line_of_a_recipe_is_refused_by_setting_and_file(tmp_path: Path, text: str, complaint: str) -> None:
    recipe = write(tmp_path / "own.yaml", text)
    with pytest.raises(UserError) as error:
        load_config({"recipe": recipe})
    assert complaint in str(error.value)
    assert recipe in str(error.value)


def test_a_recipe_cannot_run_code(tmp_path: Path) -> None:
    recipe = write(tmp_path / "own.yaml", f"seed: !!python/object/apply:os.system ['touch {tmp_path}/ran']")
    with pytest.raises(UserError, match=recipe):
        load_config({"recipe": recipe})
    assert not (tmp_path / "ran").exists()


def test_a_recipe_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"description: caf\xe9")
    with pytest.raises(UserError, match=f"{tmp_path}/own.yaml is not YAML"):
        load_config({"recipe": f"{tmp_path}/own.yaml"})


def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name in ("missing.yaml", "folder.yaml"):
        with pytest.raises(UserError, match=f"cannot read {tmp_path}/{name}"):
            load_config({"recipe": f"{tmp_path}/{name}"})


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown recipe digit; did you mean digits\?"):
        load_config({"recipe": "digit"})


# --- recipes that extend another ---


def test_a_recipe_is_read_over_its_base_and_that_over_its_own(tmp_path: Path) -> None:
    write(tmp_path / "first.yaml", "batch_size: 16\nn_critic: 2\nlatent_dim: 7\nmethod: first")
    write(tmp_path / "second.yaml", "base: first.yaml\nbatch_size: 32\nn_critic: 3\nsource: second")
    third = write(tmp_path / "third.yaml", "batch_size: 48\nbase: second.yaml\nexpect: third\ndata: photos/")
    config = load_config({"recipe": third, "seed": "5"})
    assert config == Config(recipe=third, data=("photos/",), batch_size=48, n_critic=3, latent_dim=7, seed=5)
    assert load_config({"recipe": third, "batch_size": "64"}).batch_size == 64


@pytest.mark.parametrize(
    ("lines", "description", "license"),
    [
        ("n_critic: 2", "cats", "MIT"),
        ("data: cats/", "cats", "MIT"),
        ("data: dogs/", "", ""),
        ("data: dogs/\ndescription: dogs", "dogs", ""),
        ("description: kittens", "kittens", "MIT"),
    ],
)
def test_a_recipe_with_other_data_than_its_base_is_not_described_by_it(
    tmp_path: Path, lines: str, description: str, license: str
) -> None:
    write(tmp_path / "cats.yaml", "data: cats/\ndescription: cats\nlicense: MIT")
    config = load_config({"recipe": write(tmp_path / "own.yaml", f"base: cats.yaml\n{lines}")})
    assert (config.description, config.license) == (description, license)


def test_a_base_is_looked_for_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "base.yaml", "n_critic: 9")
    write(tmp_path / "a" / "base.yaml", "n_critic: 2")
    write(tmp_path / "a" / "up.yaml", "base: ../base.yaml")
    child = write(tmp_path / "a" / "child.yaml", "base: base.yaml\ndata: x")
    for folder in (tmp_path, tmp_path / "a"):
        monkeypatch.chdir(folder)
        assert load_config({"recipe": child}).n_critic == 2
        assert load_config({"recipe": str(tmp_path / "a" / "up.yaml")}).n_critic == 9
    monkeypatch.chdir(tmp_path)
    assert load_config({"recipe": "a/child.yaml"}).n_critic == 2


@pytest.mark.parametrize("base", ["mnist_mlp", "{tmp_path}/elsewhere/absolute.yml"])
def test_a_base_is_a_recipe_of_the_package_or_a_file_anywhere(tmp_path: Path, base: str) -> None:
    write(tmp_path / "elsewhere" / "absolute.yml", "latent_dim: 100")
    child = write(tmp_path / "child.yaml", f"base: {base.format(tmp_path=tmp_path)}\nn_critic: 2")
    config = load_config({"recipe": child})
    assert (config.latent_dim, config.n_critic) == (100, 2)


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("mnist_mpl", "unknown recipe mnist_mpl; did you mean mnist_mlp?"),
        ("missing.yaml", "there is no such file"),
        ("folder.yaml", "there is no such file"),
        ("own.yaml", "leads back to itself"),
        ("there.yaml", "leads back to itself"),
        ("beside/there.yaml", "leads back to itself"),
        ("broken.yaml", "broken.yaml: expected lines of the form setting: value"),
        ("bach.yaml", "unknown setting bach_size; did you mean batch_size?"),
        ("many.yaml", "batch_size=many: expected a whole number"),
        ("run.yaml", "run_dir is given on the command line, not in a file"),
        ("[a, b]", "unknown recipe ['a', 'b']"),
        ("", "unknown recipe"),
    ],
)
def test_a_base_that_cannot_be_is_refused_by_the_recipe_that_names_it(
    tmp_path: Path, base: str, complaint: str
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    write(tmp_path / "beside" / "there.yaml", "base: ../own.yaml")
    write(tmp_path / "there.yaml", "base: back.yaml")
    write(tmp_path / "back.yaml", "base: own.yaml")
    write(tmp_path / "broken.yaml", "- a")
    write(tmp_path / "bach.yaml", "bach_size: 3")
    write(tmp_path / "many.yaml", "batch_size: many")
    write(tmp_path / "run.yaml", "run_dir: runs/a")
    recipe = write(tmp_path / "own.yaml", f"base: {base}")
    with pytest.raises(UserError) as error:
        load_config({"recipe": recipe})
    assert complaint in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_the_notes_of_a_recipe_are_no_settings(tmp_path: Path) -> None:
    recipe = write(tmp_path / "own.yaml", "method: m\nsource: s\nexpect: e\nn_critic: 2")
    assert load_config({"recipe": recipe}) == Config(recipe=recipe, n_critic=2)
    for note in RECIPE_NOTES:
        with pytest.raises(UserError, match=f"unknown setting {note}"):
            load_config({"data": "any", note: "x"})


@pytest.mark.parametrize("name", ["run_dir", "resume", "dry_run", "profile", "cache_dir"])
@pytest.mark.parametrize("source", ["recipe", "base", "run"])
def test_a_file_never_chooses_a_folder_or_how_a_run_starts(tmp_path: Path, name: str, source: str) -> None:
    file = write(tmp_path / "run" / "config.yaml", f"{name}: true")
    child = write(tmp_path / "child.yaml", "base: run/config.yaml")
    flags = {
        "recipe": {"recipe": file},
        "base": {"recipe": child},
        "run": {"run_dir": str(tmp_path / "run"), "resume": "true"},
    }
    with pytest.raises(UserError, match=f"{file}: {name} is given on the command line, not in a file"):
        load_config(flags[source])


def test_a_resumed_run_uses_the_cache_that_is_named_now(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Config(cache_dir="first"))
    assert load_config({"run_dir": run, "resume": "true"}).cache_dir == Config.cache_dir
    assert load_config({"run_dir": run, "resume": "true", "cache_dir": "now"}).cache_dir == "now"


def test_the_config_of_a_run_is_a_recipe_and_may_be_a_base(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", load_config({"recipe": "sagan64", "latent_dim": "7"}))
    recipe = f"{run}/config.yaml"
    config = load_config({"recipe": recipe})
    assert config == dataclasses.replace(load_config({"recipe": "sagan64"}), recipe=recipe, latent_dim=7)
    child = write(tmp_path / "child.yaml", "base: run/config.yaml\nlatent_dim: 8")
    assert load_config({"recipe": child}) == dataclasses.replace(config, recipe=child, latent_dim=8)


def test_the_recipes_of_the_package_are_its_yaml_files() -> None:
    assert recipe_names() == sorted(path.stem for path in RECIPES.iterdir() if path.suffix == ".yaml")
    assert "catfaces64" in recipe_names()


DURATIONS = st.integers(0, 10**9) | st.integers(0, 10**6).map(lambda epochs: f"{epochs}epoch")
RATES = st.floats(1e-12, 10)
WIDTHS = st.none() | st.integers(1, 4096)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved") / "config.yaml"


# No file name and no flag holds a zero byte.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@settings(deadline=None)
@given(
    config=st.builds(
        Config,
        seed=st.integers(0, 2**63 - 1),
        max_steps=DURATIONS,
        data=st.lists(st.text(LETTERS, min_size=1), min_size=1, max_size=3).map(tuple),
        init_from=st.text(LETTERS),
        channels=st.sampled_from([None, 1, 3, 4]),
        background=st.text("0123456789abcdef", min_size=6, max_size=6),
        generator_features=WIDTHS,
        critic_features=WIDTHS,
        betas=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2),
        critic_lr=RATES,
        gp_weight=RATES,
        mixed_precision=st.sampled_from(["auto", "no", "bf16"]),
        compile=st.booleans(),
        sample_every=DURATIONS,
        description=st.text(LETTERS),
    )
)
def test_a_saved_config_is_a_recipe_for_the_same_run(config: Config, recipe_file: Path) -> None:
    recipe = write(recipe_file, to_yaml(config))
    assert load_config({"recipe": recipe}) == dataclasses.replace(config, recipe=recipe)


def test_a_saved_config_says_nothing_of_where_it_ran() -> None:
    config = Config(run_dir="runs/a", resume="true", dry_run=True, profile=3, cache_dir="cache")
    assert as_dict(config) == as_dict(Config())
    assert as_dict(config).keys() == OTHER.keys() - {"run_dir", "resume", "dry_run", "profile", "cache_dir"}


@pytest.mark.parametrize(
    ("text", "value", "steps"),
    [
        ("500", 500, 500),
        ("0", 0, 0),
        ("3epoch", "3epoch", 84),
        ("0epoch", "0epoch", 0),
        (" 2EPOCH ", "2epoch", 56),
        ("2epochs", "2epoch", 56),
        ("3 epochs", "3epoch", 84),
        ("500 steps", 500, 500),
        ("10k", 10_000, 10_000),
        ("1.5k", 1500, 1500),
        ("1e5", 100_000, 100_000),
        ("1kepoch", "1000epoch", 28_000),
    ],
)
def test_a_duration_is_steps_or_epochs(text: str, value: int | str, steps: int) -> None:
    duration = load_config({"sample_every": text}).sample_every
    assert duration == value
    assert in_steps(duration, steps_per_epoch=28) == steps


@pytest.mark.parametrize("text", ["epoch", "-1", "1.5", "-1epoch", "1.5epoch", "", "soon", "²", "2hours", "epochs2"])
@pytest.mark.parametrize("name", ["max_steps", "log_every", "sample_every", "evaluate_every", "checkpoint_every"])
def test_any_other_duration_is_refused(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"^{name}={text}: expected a number of generator steps"):
        load_config({name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("channels", "0"),
        ("channels", "1025"),
        *(("levels", text) for text in ("1", "1,1", "2,1", "1,2,3", "low", "nan,1", "0,inf")),
        ("axes", "hwc"),
        ("seed", "-1"),
        ("seed", "9223372036854775808"),
        ("seed", "1.5"),
        *(("image_size", text) for text in ("0", "7", "1025", "48x", "x48", "48x96x3", "4 8", "0x30", "1e2")),
        ("resize", "fit"),
        ("batch_size", "0"),
        ("n_critic", "0"),
        ("latent_dim", "0"),
        ("gp_weight", "-0.1"),
        ("gp_weight", "0"),
        ("dragan_std", "0"),
        ("adam_eps", "0"),
        ("generator_batch_size", "0"),
        ("grid_images", "0"),
        ("loss", "mse"),
        ("spectral_norm", "all"),
        ("reuse_latents", "2"),
        ("clip_value", "0"),
        ("critic_lr", "0"),
        ("generator_lr", "-1"),
        ("ema_decay", "1"),
        ("betas", "0.5,1"),
        ("workers", "-1"),
        ("keep_checkpoints", "0"),
        ("background", "white"),
        ("background", "fff"),
        ("background", "gggggg"),
        ("resume", "maybe"),
        ("penalty", "wgan"),
        ("latent_distribution", "gaussian"),
        ("data", ""),
        ("holdout", "1"),
        ("holdout", "-0.1"),
        ("metrics", "fid,wasserstein_holdout"),
        ("metrics", ""),
        ("evaluation_images", "1"),
        ("best_metric", "nearest_neighbour"),
        ("best_metric", "pr"),
        ("early_stop", "yes"),
        ("patience", "soon"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"^{name}={text}: expected "):
        load_config({name: text})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "9223372036854775807", 2**63 - 1),
        ("gp_weight", "1e-9", 1e-9),
        ("generator_batch_size", "auto", None),
        ("generator_batch_size", "1", 1),
        ("ema_decay", "0", 0.0),
        ("betas", "0,0.999", (0.0, 0.999)),
        ("channels", "4", 4),
        ("background", "#FFcc00", "ffcc00"),
        ("metrics", "auto", None),
        ("metrics", "pr,fid,swd", ("sliced_wasserstein", "fid", "precision", "recall")),
        ("metrics", "fid,inception_score,is", ("fid", "inception_score")),
        ("best_metric", "recall", "recall"),
        ("best_metric", "swd", "sliced_wasserstein"),
        ("best_metric", "FID", "fid"),
        ("metrics", "SWD,Sliced_Wasserstein", ("sliced_wasserstein",)),
    ],
)
def test_a_value_at_the_edge_of_sense_is_accepted(name: str, text: str, value: object) -> None:
    assert getattr(load_config({"evaluate_every": "1"} | {name: text}), name) == value


@pytest.mark.parametrize(
    "flag", ["metrics=swd", "best_metric=fid", "feature_extractor=a.pt", "classifier=a.pt", "inception_weights=a.pth"]
)
def test_what_only_evaluation_uses_is_refused_without_it(flag: str) -> None:
    name, value = flag.split("=")
    labels = {"labels": "auto"} if name == "classifier" else {}
    with pytest.raises(
        UserError,
        match=f"{name} with evaluate_every=0: nothing is evaluated; expected evaluate_every to be more than 0",
    ):
        load_config({name: value} | labels)
    load_config({name: value, "evaluate_every": "5"} | labels)


def flags_of(text: str) -> dict[str, str]:
    """Return `a=1 b=2` as a dict of flags."""
    return dict(pair.split("=") for pair in text.split())


PER_SAMPLE = ("gp", "lp", "r1", "dragan")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ("dtype=float64 mixed_precision=bf16", "mixed_precision=bf16 with dtype=float64"),
        ("dtype=float64 mixed_precision=fp16", "mixed_precision=fp16 with dtype=float64"),
        ("batch_size=10 accumulation=4", "batch_size=10: expected a multiple of accumulation=4"),
        ("tf32=true deterministic=true", "tf32=true with deterministic=true: expected one of them"),
        ("cuda_graphs=true", "cuda_graphs=true with compile=false: expected compile=true"),
        (
            "cuda_graphs=true compile=true batch_size=8 accumulation=4",
            "cuda_graphs=true with accumulation=4: expected accumulation=1",
        ),
        ("resume=true", "resume=true: expected --run_dir"),
        (
            "penalty=none",
            "penalty=none with loss=wasserstein: without .* or spectral_norm=critic",
        ),
        *(
            (
                f"critic=lipschitz penalty={penalty}",
                f"penalty={penalty} with critic=lipschitz: .* expected penalty=none",
            )
            for penalty in (*PER_SAMPLE, "clip")
        ),
        ("critic=lipschitz penalty=none spectral_norm=both", "spectral_norm=both with critic=lipschitz: .*orthonormal"),
        ("critic=lipschitz penalty=none labels=auto", "critic_labels=projection with critic=lipschitz: .*=concat"),
        ("critic=lipschitz penalty=none tf32=true", "tf32=true with critic=lipschitz: .* expected tf32=false"),
        ("penalty=none spectral_norm=generator", "penalty=none with loss=wasserstein: without a Lipschitz constraint"),
        ("penalty=clip loss=bce", "penalty=clip with loss=bce: .* expected loss=wasserstein"),
        ("penalty=clip loss=hinge", "penalty=clip with loss=hinge: .* expected loss=wasserstein"),
        *(
            (
                f"penalty=clip spectral_norm={norm}",
                f"penalty=clip with spectral_norm={norm}: .* expected spectral_norm=none",
            )
            for norm in ("critic", "both")
        ),
        *(
            (
                f"critic_norm=batch penalty={penalty}",
                f"critic_norm=batch with penalty={penalty}: .*; expected critic_norm=instance, layer or none",
            )
            for penalty in PER_SAMPLE
        ),
        (
            "generator_batch_size=6 accumulation=4 batch_size=8",
            "^generator_batch_size=6: expected a multiple of accumulation=4",
        ),
        (
            "generator_batch_size=128 batch_size=64 reuse_latents=true",
            "reuse_latents=true with generator_batch_size=128: expected batch_size=64",
        ),
        (
            "loss=relativistic generator_batch_size=32 batch_size=64",
            "loss=relativistic with generator_batch_size=32: .*; expected batch_size=64",
        ),
        ("penalty=clip penalty_every=4", "penalty_every=4 with penalty=clip: expected a gradient penalty"),
        ("lr_decay_start=0.5", "lr_decay_start=0.5 with lr_decay=none: expected linear or cosine"),
        ("ema_decay=0.9 ema_half_life=100", "ema_half_life=100 with ema_decay=0.9: expected one of them"),
        ("data=swissroll augment=diffaugment", "augment=diffaugment: is for images, and swissroll are points"),
        (
            "augment_policy=translation",
            "augment_policy=translation with augment=none: expected augment=diffaugment or adaptive",
        ),
        (
            "augment=adaptive augment_policy=cutout,flips",
            r"augment_policy=cutout,flips: expected some of colour, translation, cutout",
        ),
        ("freeze_critic=2", "freeze_critic=2 without init_from: .*; expected --init_from=RUN"),
        ("class_balance=true", "class_balance=true with labels=none: expected labels=auto"),
        ("critic_labels=acgan", "critic_labels=acgan with labels=none: expected labels=auto"),
        ("data=swissroll labels=auto", "labels=auto: swissroll are points, which have no classes; expected none"),
        ("labels=none.csv", "labels=none.csv: there is no such file"),
        ("labels=auto critic_labels=concat penalty=clip", "critic_labels=concat with penalty=clip: clipping bounds"),
        ("labels=auto generator=own:G generator_labels=norm", "generator=own:G: a custom network takes labels in its"),
        (
            "labels=auto generator_class_weight=0.2",
            "generator_class_weight=0.2 with critic_labels=projection: expected critic_labels=acgan",
        ),
        ("certify_every=10", "certify_every=10 with holdout=0: expected holdout to be more than 0"),
        ("early_stop=best", "early_stop=best with evaluate_every=0: nothing is evaluated; expected evaluate_every"),
        (
            "early_stop=holdout evaluate_every=5",
            "early_stop=holdout with holdout=0, loss=wasserstein: expected holdout",
        ),
        (
            "early_stop=holdout evaluate_every=5 holdout=0.1 loss=bce penalty=none",
            "early_stop=holdout with holdout=0.1",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(flags: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_config({"data": "any"} | flags_of(flags))


@pytest.mark.parametrize(
    "flags",
    [
        "penalty=none loss=wasserstein spectral_norm=critic",
        "penalty=none loss=wasserstein spectral_norm=both",
        "penalty=none loss=wasserstein critic=own:Critic",  # a custom critic may constrain itself
        "penalty=none loss=wasserstein critic=lipschitz",
        "penalty=none loss=wasserstein critic=lipschitz labels=auto critic_labels=concat",
        "penalty=none loss=bce",
        "penalty=none loss=hinge",
        "penalty=clip spectral_norm=generator",
        "penalty=clip critic_norm=batch",
        "penalty=none loss=bce critic_norm=batch",
        *(f"penalty={penalty} loss={loss}" for penalty in PER_SAMPLE for loss in ("wasserstein", "bce", "hinge")),
        *(f"penalty={penalty} critic_norm={norm}" for penalty in PER_SAMPLE for norm in ("instance", "layer", "none")),
        "penalty=gp spectral_norm=both",
        "penalty=gp generator_norm=batch",
        "batch_size=8 generator_batch_size=12 accumulation=4",
        "batch_size=8 generator_batch_size=6",
        "batch_size=64 generator_batch_size=64 reuse_latents=true",
        "reuse_latents=true",
    ],
)
def test_settings_that_make_sense_together_are_accepted(flags: str) -> None:
    config = load_config({"data": "any"} | flags_of(flags))
    assert {name: str(getattr(config, name)).lower() for name in flags_of(flags)} == {
        name: value.lower() for name, value in flags_of(flags).items()
    }


@pytest.mark.parametrize("precision", ["auto", "no"])
def test_float64_goes_without_mixed_precision(precision: str) -> None:
    assert load_config({"dtype": "float64", "mixed_precision": precision}).dtype == "float64"


@pytest.mark.parametrize("resume", ["true", "auto", "True"])
def test_a_resumed_run_has_its_own_settings_and_then_the_flags(tmp_path: Path, resume: str) -> None:
    run = make_run(tmp_path / "run", Config(recipe="own", data=("photos/",), n_critic=3, max_steps=10))
    # A batch job names the recipe again; the run's own settings replace it.
    config = load_config({"run_dir": run, "resume": resume, "recipe": "digits", "max_steps": "20"})
    expected = Config(recipe="digits", data=("photos/",), n_critic=3, max_steps=20, run_dir=run, resume=resume.lower())
    assert config == expected


def test_resume_auto_starts_afresh_where_there_is_no_run(tmp_path: Path) -> None:
    config = load_config({"run_dir": str(tmp_path), "resume": "auto"})
    assert config == dataclasses.replace(load_config({}), run_dir=str(tmp_path), resume="auto")


def test_a_run_that_is_not_resumed_gives_no_settings(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Config(n_critic=3))
    assert load_config({"run_dir": run}) == dataclasses.replace(load_config({}), run_dir=run)


def test_resuming_without_a_run_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"^run_dir={tmp_path}: there is no run to resume: there is no {tmp_path}/config.yaml$"
    ):
        load_config({"run_dir": str(tmp_path), "resume": "true"})
    with pytest.raises(
        UserError, match=f"^run_dir={tmp_path}/nope: there is no run to resume: there is no such folder$"
    ):
        load_config({"run_dir": f"{tmp_path}/nope", "resume": "true"})


def test_a_folder_given_to_resume_is_answered_with_run_dir() -> None:
    with pytest.raises(UserError, match="^resume=runs/a: expected true, false or auto; the folder .* by --run_dir$"):
        load_config({"resume": "runs/a"})


def test_a_wrong_line_of_a_saved_config_is_refused_by_setting_and_run(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", "batch_size: many")
    with pytest.raises(UserError, match=f"batch_size=many.*{tmp_path}"):
        load_config({"run_dir": str(tmp_path), "resume": "true", "recipe": "digits"})


def changed(name: str, **others: Any) -> list[str]:
    """Return the differences from a run, as a checkpoint stores its settings, that continues with another value."""
    before = Config(**others)
    return differences(dataclasses.replace(before, **{name: OTHER[name]}), json.loads(json.dumps(as_dict(before))))


def test_every_setting_has_another_value_here() -> None:
    assert OTHER.keys() == vars(Config()).keys()
    assert [name for name, value in vars(Config()).items() if OTHER[name] == value] == []


@pytest.mark.parametrize("name", FREE.split())
def test_a_continued_run_may_change(name: str) -> None:
    assert changed(name) == []


@pytest.mark.parametrize("name", sorted(OTHER.keys() - set(FREE.split())))
def test_a_continued_run_may_not_change(name: str) -> None:
    [difference] = changed(name)
    assert difference.startswith(f"{name}=")


def test_a_difference_shows_both_values() -> None:
    assert changed("betas") == ["betas=0.5,0.9 (was 0,0.9)"]


def test_the_length_of_a_run_is_fixed_once_the_learning_rate_depends_on_it() -> None:
    assert changed("max_steps", lr_decay="linear") == ["max_steps=3epoch (was 100000)"]
    short, decaying = Config(max_steps=5), Config(max_steps=100_000, lr_decay="linear")
    assert differences(short, as_dict(decaying)) == ["max_steps=5 (was 100000)", "lr_decay=none (was linear)"]
    assert differences(decaying, as_dict(short)) == ["max_steps=100000 (was 5)", "lr_decay=linear (was none)"]


@pytest.mark.parametrize(
    ("given", "size", "shown"),
    [
        ("64", ImageSize(64, 64), "64"),
        (48, ImageSize(48, 48), "48"),
        ("48x96", ImageSize(48, 96), "48x96"),
        ("8×1024", ImageSize(8, 1024), "8x1024"),
        ((30, 50), ImageSize(30, 50), "30x50"),
    ],
)
def test_a_size_is_height_and_width(given: object, size: ImageSize, shown: str) -> None:
    config = load_config({"image_size": given})
    assert (config.image_size, str(config.image_size)) == (size, shown)
    stored = as_dict(config)["image_size"]
    assert stored == (size.height if size.height == size.width else shown)
    assert load_config({"image_size": stored}).image_size == size


def test_the_summary_tells_what_is_not_default() -> None:
    assert changed_settings(Config()) == ""
    assert changed_settings(Config(seed=3, data=("a", "b"), compile=True)) == "seed=3 data=a,b compile=true"


@pytest.mark.parametrize(
    "name",
    [
        *("grid_images", "workers", "threads", "timeout", "batch_size", "generator_batch_size", "evaluation_images"),
        *("latent_dim", "generator_features", "critic_features"),
    ],
)
def test_what_is_allocated_is_bounded_in_every_recipe(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{name}: 1000000000\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"^{name}=1000000000: expected less than [0-9]+ "):
        load_config({"recipe": str(tmp_path / "a.yaml"), "data": "digits"})


def test_a_zero_byte_is_refused_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(r'data: "a\0b"', encoding="utf-8")
    for flags in ({"recipe": str(tmp_path / "a.yaml")}, {"run_dir": "a\0b"}, {"data": ("a\0b",)}):
        with pytest.raises(UserError, match="expected text without a zero byte"):
            load_config(flags)
