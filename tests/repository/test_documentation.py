"""The commands of the README and of docs/, run in their order in an empty folder, on real pictures.

What cannot run here is marked.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import REPOSITORY, run
from wgan_dist.data import ImageDataset

# As a newcomer reads them: what the README has made is there for the pages that it names.
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("data", "processes", "durability", "evaluation", "sampling", "recipes", "theory", "speed")
    ),
]
TEXTS = {page: (REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"(<!-- dry-run -->\n)?```bash\n(.*?)```", re.DOTALL)
# Appended to training: later flags win, and a README trains longer than a test can wait.
SHORT = "--max_steps=2 --generator_features=4 --critic_features=4 --threads=1"


def commands(dry: bool) -> list[str]:
    """Each once, wherever it is said again."""
    blocks = [found for text in TEXTS.values() for found in BLOCK.findall(text)]
    return list(dict.fromkeys(line for marked, block in blocks for line in block.splitlines() if bool(marked) is dry))


def python_code(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", TEXTS[page], re.DOTALL))


def make_photos(folder: Path, digits: ImageDataset, start: int) -> None:
    """Real images as a user has them: files of different sizes, in colour."""
    folder.mkdir()
    for number in range(90):
        picture = Image.fromarray(np.asarray(digits.pixels[start + number, 0])).convert("RGB")
        picture.resize((40 + number, 60)).save(folder / f"{number}.jpg")


@pytest.fixture
def empty_folder(tmp_path: Path, digits: ImageDataset) -> Path:
    """What the README presumes: the repository, and a person's photographs."""
    for name in ("launch", "export", "wgan_dist", "pyproject.toml", "accelerate_config.yaml"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    make_photos(tmp_path / "my_photos", digits, 0)
    make_photos(tmp_path / "more_photos", digits, 90)
    return tmp_path


def test_every_page_is_known_and_named_by_the_readme() -> None:
    assert sorted(PAGES[1:]) == sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))
    assert all(f"]({page})" in TEXTS["README.md"] for page in PAGES[1:])


def test_every_command_works_in_the_readmes_order(empty_folder: Path, cache_dir: Path) -> None:
    for command in commands(dry=False):
        words = shlex.split(command)
        if "wgan_dist.train" in words:
            words += [*shlex.split(SHORT), f"--cache_dir={cache_dir}"]
            if "--resume" in command:  # a continued run keeps its networks, and its length as the command has it
                words = [word for word in words if "features" not in word and word != "--max_steps=120000"]
        if words[:2] == ["bash", "launch/demo.sh"]:
            words += [*shlex.split(SHORT), f"--cache_dir={cache_dir}"]
        run(*words, cwd=empty_folder)
    with Image.open(empty_folder / "grid.png") as grid, Image.open(empty_folder / "grid_torch.png") as same:
        assert np.abs(np.asarray(grid).astype(int) - np.asarray(same).astype(int)).max() <= 1
    assert len(list((empty_folder / "images").iterdir())) == 10
    assert (empty_folder / "way.gif").exists()


def test_the_python_in_the_readme_runs(empty_folder: Path, run_dir: Path) -> None:
    run("python", "-m", "export.onnx", f"--ckpt={run_dir}", "--out=generator.onnx", cwd=empty_folder)
    code = python_code("README.md").replace("max_steps=2000", "max_steps=1, generator_features=4, critic_features=4")
    done = run("python", "-c", f"{code}\nprint(images.shape, images.dtype)\nprint(run_dir)", cwd=empty_folder)
    assert done.stdout.splitlines()[-2:] == ["(16, 32, 32, 1) uint8", "runs/0001"]


def test_the_python_of_the_hub_runs(empty_folder: Path, run_dir: Path) -> None:
    code = python_code("docs/sampling.md").replace("runs/cats", str(run_dir))
    done = run("python", "-c", f"{code}\nprint(images.shape, images.dtype)", cwd=empty_folder)
    assert done.stdout.splitlines()[-1] == "(16, 32, 32, 1) uint8"
    assert (empty_folder / "cats_for_the_hub/generator.safetensors").stat().st_size


def test_commands_that_are_not_run_exist() -> None:
    for command in commands(dry=True):
        words = shlex.split(command)
        if words[0] == ".":
            continue  # the environment that these tests run in
        if words[0] == "bash":
            subprocess.run(["bash", "-n", REPOSITORY / words[1]], check=True)
        else:
            assert shutil.which(words[0]), command


def test_every_file_that_is_shown_or_named_by_a_link_exists() -> None:
    for page, text in TEXTS.items():
        for path in re.findall(r"\]\(([^)#:]+)\)", text):
            assert ((REPOSITORY / page).parent / path).stat().st_size, path


@pytest.mark.slow
def test_the_demo_draws_digits_that_a_classifier_reads(tmp_path: Path, cache_dir: Path, digits: ImageDataset) -> None:
    """Independent eyes: a classifier of scikit-learn, trained on the real digits, is sure of what it sees."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    from export.sampler import Sampler

    for name in ("launch", "export", "wgan_dist", "pyproject.toml", "accelerate_config.yaml"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    subprocess.run(["bash", "launch/demo.sh", f"--cache_dir={cache_dir}"], cwd=tmp_path, check=True, timeout=1200)
    real, labels = np.asarray(digits.pixels).reshape(len(digits), -1), load_digits().target
    classifier = SVC(probability=True, random_state=0).fit(real[:1000] / 255, labels[:1000])
    drawn = Sampler(next(tmp_path.glob("runs/demo-*/generator.onnx"))).sample(500, seed=1)
    found = classifier.predict_proba(drawn.reshape(500, -1) / 255)
    sure = float(np.median(found.max(1)))
    sure_of_real = float(np.median(classifier.predict_proba(real[1000:] / 255).max(1)))
    print(f"median certainty {sure:.3f}, of real digits {sure_of_real:.3f}")
    assert sure > 0.8 * sure_of_real
    assert len(set(found.argmax(1))) == 10
