"""Programs that a file names run only if the user names them too."""

from pathlib import Path

import pytest

from wgan_dist.checkpoints.run_dir import no_checkpoint_yet
from wgan_dist.config import CONFIG_FILE, load_config, read_config
from wgan_dist.config.programs import is_program
from wgan_dist.config.recipe_listing import show_recipe
from wgan_dist.train import parse_settings
from wgan_dist.utils.errors import UserError

EVALUATED = {"evaluate_every": "5"}
PROGRAMS = [
    ("generator", "RUN.evil:G", {}),
    ("critic", "RUN.evil:C", {}),
    ("feature_extractor", "RUN/evil.pt", EVALUATED),
    ("feature_extractor", "RUN/evil", EVALUATED),
    ("classifier", "RUN/evil.pt", EVALUATED | {"labels": "auto"}),
    ("trackers", "mlflow", {}),
]
EACH_PROGRAM = pytest.mark.parametrize(("name", "value", "others"), PROGRAMS)


def write(path: Path, settings: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name}: '{value}'\n" for name, value in settings.items()))
    return path


@EACH_PROGRAM
@pytest.mark.parametrize("resume", ["true", "auto"])
def test_a_run_does_not_choose_what_its_continuation_runs(
    name: str, value: str, others: dict[str, str], resume: str, tmp_path: Path
) -> None:
    write(tmp_path / CONFIG_FILE, {name: value} | others)
    flags = {"run_dir": str(tmp_path), "resume": resume, "dry_run": "true"}
    with pytest.raises(UserError, match=rf"^{name}={value} \(in {tmp_path}\): .*; if you trust it: --{name}={value}$"):
        parse_settings(flags)
    assert getattr(load_config(flags | {name: value}), name) in (value, (value,))


@EACH_PROGRAM
def test_a_recipe_and_its_base_do_not_choose_what_is_run(
    name: str, value: str, others: dict[str, str], tmp_path: Path
) -> None:
    base = write(tmp_path / "base.yaml", {name: value} | others)
    recipe = write(tmp_path / "recipe.yaml", {"base": "base.yaml"})
    for file in (base, recipe):
        with pytest.raises(
            UserError, match=rf"^{name}={value} \(in {file}\): a program runs only if you name it yourself; "
        ):
            load_config({"recipe": str(file)})
        load_config({"recipe": str(file), name: value})


def test_another_choice_of_the_user_counts(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", {"generator": "evil:G"})
    assert load_config({"recipe": str(recipe), "generator": "mlp"}).generator == "mlp"


def test_all_programs_are_named_in_one_line(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", {"generator": "a:G", "critic": "a:C", "trackers": "wandb,mlflow"})
    with pytest.raises(UserError, match="it: --generator=a:G --critic=a:C --trackers=wandb,mlflow$"):
        load_config({"recipe": str(recipe)})
    with pytest.raises(UserError, match="^critic=a:C .*it: --critic=a:C$"):
        load_config({"recipe": str(recipe), "generator": "a:G", "trackers": "mlflow"})


def test_the_flag_to_copy_is_quoted(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", {"generator": "a:b; rm -rf x"})
    with pytest.raises(UserError, match=r"it: '--generator=a:b; rm -rf x'$"):
        load_config({"recipe": str(recipe)})


def test_what_runs_nothing_reads_such_files(tmp_path: Path) -> None:
    recipe = write(tmp_path / CONFIG_FILE, {"generator": "evil:G", "checkpoint_every": "7"})
    assert read_config({"recipe": str(recipe)}).generator == "evil:G"
    assert "generator: evil:G" in show_recipe(str(recipe))
    assert "after step 7" in no_checkpoint_yet(tmp_path)


def test_a_feature_extractor_that_is_data_may_be_named_by_a_file(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipe.yaml", {"feature_extractor": "a.onnx"} | EVALUATED)
    assert load_config({"recipe": str(recipe)}).feature_extractor == "a.onnx"


@pytest.mark.parametrize("name", ["a.pt", "a.PT2", "a.compiled.pt2", "a.pth", "a.onnx.pt", "a", "a.pkl"])
def test_files_that_are_programs(name: str) -> None:
    assert is_program(name)


@pytest.mark.parametrize("name", ["a.onnx", "A.ONNX", "a.pt.safetensors", "run.pt/a.safetensors"])
def test_files_that_are_data(name: str) -> None:
    assert not is_program(Path(name))
