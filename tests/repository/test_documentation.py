"""Run the commands of README.md and docs/ in their order, in an empty folder and on real images.

Blocks that cannot run in a test are marked `<!-- dry-run -->`; their programs and scripts must exist.
"""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import structure
from tests.processes import REPOSITORY, run
from wgan_dist.data.datasets import ImageDataset

# In the order in which a newcomer reads them: files that the README's commands write are there for the later pages.
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "data",
            "processes",
            "gpus",
            "durability",
            "evaluation",
            "distance",
            "sampling",
            "security",
            "recipes",
            "few_images",
            "quality",
            "theory",
            "speed",
            "figures",
        )
    ),
]
TEXTS = {page: (REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"(<!-- dry-run -->\n)?```bash\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]+))?\)")
# Appended to commands: later flags win, and the documented runs and measurements are too long for a test.
SHORT_RUN = "--max_steps=2 --generator_features=4 --critic_features=4 --batch_size=8 --evaluation_images=70 --threads=1"
SHORT_EVALUATION = "--count=70 --real_count=70"
README_LINES = 200


def commands(dry: bool) -> list[str]:
    """Return the commands of all pages, each once, that are marked as dry runs or not."""
    blocks = [block for text in TEXTS.values() for block in BLOCK.findall(text)]
    return list(dict.fromkeys(line for marked, block in blocks for line in block.splitlines() if bool(marked) is dry))


def python_code(page: str) -> str:
    """Return the Python examples of a page as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", TEXTS[page], re.DOTALL))


def make_photos(folder: Path, digits: ImageDataset, start: int) -> None:
    """Write real images as users have them: colour files of different sizes."""
    folder.mkdir()
    for number in range(90):
        image = Image.fromarray(np.asarray(digits.pixels[start + number, 0])).convert("RGB")
        image.resize((40 + number, 60)).save(folder / f"{number}.jpg")


def link_repository(folder: Path) -> None:
    """Link what the commands use into a folder that stands for the top of a clone."""
    for name in ("launch", "export", "wgan_dist", "pyproject.toml", "accelerate_config.yaml"):
        (folder / name).symlink_to(REPOSITORY / name)


@pytest.fixture
def clone(tmp_path: Path, digits: ImageDataset) -> Path:
    """The folder that the README presumes: a clone with a user's photographs in it."""
    link_repository(tmp_path)
    make_photos(tmp_path / "my_photos", digits, 0)
    make_photos(tmp_path / "more_photos", digits, 90)
    return tmp_path


def test_every_page_is_tested_and_linked_by_the_readme() -> None:
    assert sorted(PAGES[1:]) == sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))
    assert all(f"]({page})" in TEXTS["README.md"] for page in PAGES[1:])


def test_the_readme_is_short_and_lists_every_command() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= README_LINES
    table = TEXTS["README.md"].split("## Commands")[1].split("\n## ")[0]
    assert [command for command in structure.commands() if f"`{command}`" not in table] == []


def test_every_command_works_in_the_readmes_order(clone: Path, cache_dir: Path) -> None:
    for command in commands(dry=False):
        words = shlex.split(command)
        if "wgan_dist.train" in words:
            words += [*shlex.split(SHORT_RUN), f"--cache_dir={cache_dir}"]
            if "--resume" in command:  # a resumed run keeps its networks, and its length as the command has it
                words = [word for word in words if "features" not in word and word != "--max_steps=120000"]
        if "wgan_dist.evaluate" in words:
            words += shlex.split(SHORT_EVALUATION)
        if "wgan_dist.distance" in words:
            words += ["--steps=5", f"--cache_dir={cache_dir}"]
        if words[:2] == ["bash", "launch/demo.sh"]:
            words += [*shlex.split(SHORT_RUN), f"--cache_dir={cache_dir}"]
        run(*words, cwd=clone)
    with Image.open(clone / "grid.png") as grid, Image.open(clone / "grid_torch.png") as torch_grid:
        assert np.abs(np.asarray(grid).astype(int) - np.asarray(torch_grid).astype(int)).max() <= 1
    assert len(list((clone / "images").iterdir())) == 10
    assert (clone / "way.gif").exists()


def test_the_python_in_the_readme_runs(clone: Path, run_dir: Path) -> None:
    run("python", "-m", "export.onnx", f"--ckpt={run_dir}", "--out=generator.onnx", cwd=clone)
    code = python_code("README.md").replace("max_steps=2000", "max_steps=1, generator_features=4, critic_features=4")
    done = run("python", "-c", f"{code}\nprint(images.shape, images.dtype)\nprint(run_dir)", cwd=clone)
    assert done.stdout.splitlines()[-2:] == ["(16, 32, 32, 1) uint8", "runs/0001"]


def test_the_python_of_the_hub_runs(clone: Path, run_dir: Path) -> None:
    code = python_code("docs/sampling.md").replace("runs/cats", str(run_dir))
    done = run("python", "-c", f"{code}\nprint(images.shape, images.dtype)", cwd=clone)
    assert done.stdout.splitlines()[-1] == "(16, 32, 32, 1) uint8"
    assert (clone / "cats_for_the_hub/generator.safetensors").stat().st_size


def test_commands_that_are_not_run_exist() -> None:
    for command in commands(dry=True):
        words = shlex.split(command)
        if words[0] == "bash":
            subprocess.run(["bash", "-n", REPOSITORY / words[1]], check=True)
        else:
            assert shutil.which(words[0]), command


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in TEXTS.values():
        for names in re.findall(r"pip install [^\n`]*\[([\w,]+)\]", text):
            assert set(names.split(",")) <= project["optional-dependencies"].keys()


def anchors(text: str) -> set[str]:
    """Return the anchors that a Markdown viewer gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_or_a_heading() -> None:
    for page, text in TEXTS.items():
        for path, anchor in LINK.findall(text):
            target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
            assert target.stat().st_size, path
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page}: #{anchor}"


@pytest.mark.slow
def test_the_demo_draws_digits_that_a_classifier_reads(tmp_path: Path, cache_dir: Path) -> None:
    """A classifier of scikit-learn, trained on the real digits, is certain about the generated ones."""
    from export.sampler import Sampler
    from tests.benchmarks.digits import LEARNED, real_digits, train_classifier

    link_repository(tmp_path)
    subprocess.run(["bash", "launch/demo.sh", f"--cache_dir={cache_dir}"], cwd=tmp_path, check=True, timeout=1200)
    real, classes = real_digits(str(cache_dir))
    classifier = train_classifier(real, classes)
    generated = Sampler(next(tmp_path.glob("runs/demo-*/generator.onnx"))).sample(500, seed=1)
    probabilities = classifier.predict_proba(generated.reshape(500, -1) / 255)
    certainty = float(np.median(probabilities.max(1)))
    certainty_on_real = float(np.median(classifier.predict_proba(real[LEARNED:]).max(1)))
    print(f"median certainty {certainty:.3f}, of real digits {certainty_on_real:.3f}")
    assert certainty > 0.9 * certainty_on_real
    assert len(set(probabilities.argmax(1))) == 10
