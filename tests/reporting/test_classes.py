"""The classes of a conditional generator in the report and the model card: named, in rows, with shares and metrics."""

import ast
import dataclasses
import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from PIL import Image

from tests.generators import small_spec, write_generator
from tests.runs import report_on, write_evaluation, write_run
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.evaluation.results import CLASSES_SHOWN
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.models.registry import build_generator, generator_spec
from wgan_dist.reporting.classes import ClassRow, class_table
from wgan_dist.reporting.image_files import Picture
from wgan_dist.reporting.model_card import build_card, card_text
from wgan_dist.reporting.run_data import read_evaluations, read_run
from wgan_dist.reporting.samples import final_picture, load_generator, nearest_images
from wgan_dist.tracking.sample_grid import CLASSES_DRAWN
from wgan_dist.utils.class_draws import sample_classes
from wgan_dist.utils.images import GAP

NAMES, SHARES = ("<b>coat</b>", "bag"), (0.75, 0.25)
OF_CLASSES = {"<b>coat</b>": {"value": 0.5, "generated": 9, "real": 9}, "bag": {"value": None}}


def describe(names: tuple[str, ...] = NAMES, shares: tuple[float, ...] = SHARES, **changes: Any) -> Description:
    """Describe a conditional generator of grey images of 16×16 pixels."""
    spec = generator_spec("mlp", 8, square(16), 1, 4, "auto", False, classes=len(names), labels="embedding")
    about = Description(spec, "normal", "ema", 3, 48, 1797, "digits", "", "a test", "CC0-1.0", "0")
    return dataclasses.replace(about, classes=names, class_shares=shares, **changes)


def write_conditional(folder: Path, about: Description, **settings: Any) -> Path:
    """Write a run folder with a generator that has not been trained."""
    run = write_run(folder, [{"step": 3}], data=("digits",), labels="auto", image_size=square(16), **settings)
    network = build_generator(about.network, seed=3)
    (run / EMA_FILE).write_bytes(generator_file.to_bytes(network.state_dict(), about))
    return run


def pixels(picture: Picture) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture.content)) as opened:
        return np.asarray(opened)


def cells(grid: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the images [rows, columns, 16, 16] of a grid on the right of a picture, at their own size."""
    scale = grid.shape[0] // (rows * (16 + GAP) + GAP)
    whole = grid[:, -scale * (columns * (16 + GAP) + GAP) :][::scale, ::scale, 0]
    parts = whole[GAP:, GAP:].reshape(rows, 16 + GAP, columns, 16 + GAP)
    return parts.transpose(0, 2, 1, 3)[:, :, :16, :16]


@pytest.mark.parametrize(("classes", "count", "columns"), [(2, 8, 4), (CLASSES_DRAWN + 5, 9, 2)])
def test_a_row_of_samples_is_of_one_class_and_all_rows_have_the_same_noise(
    classes: int, count: int, columns: int, tmp_path: Path
) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    run = read_run(write_conditional(tmp_path / "run", describe(names, (1 / classes,) * classes)), "run")
    generator = load_generator(run, "")
    picture = final_picture(run, generator, count, 5, "1-run")
    rows, z = min(classes, CLASSES_DRAWN), sample_latents(columns, 8, "normal", 5)
    found = cells(pixels(picture), rows, columns)
    for number in range(rows):
        expected = generate(generator.network, z, labels=np.full(columns, number))
        np.testing.assert_array_equal(found[number], expected[..., 0])
    assert (found[0] != found[1]).any()
    assert f"{columns} images of each class by run" in picture.alt
    assert (f"in {rows} rows of {classes} from top" in picture.alt) == (classes > rows)


def test_images_beside_their_neighbours_are_of_the_classes_that_the_seed_draws(cache_dir: Path, tmp_path: Path) -> None:
    data = open_images(("digits",), ImageSettings(square(16), labels="auto"), str(cache_dir))
    about = describe(tuple(map(str, range(10))), (0.05,) * 9 + (0.55,), data_fingerprint=data.fingerprint)
    run = read_run(write_conditional(tmp_path / "run", about), "run")
    generator = load_generator(run, "")
    picture = nearest_images(run, generator, 12, 3, "1-run", str(cache_dir)).picture
    labels = sample_classes(12, np.array(about.class_shares), 3)
    assert len(set(labels.tolist())) > 1
    expected = generate(generator.network, sample_latents(12, 8, "normal", 3), labels=labels)
    np.testing.assert_array_equal(cells(pixels(picture), 2, 12)[0], expected[..., 0])


def test_a_table_has_the_shares_and_the_metrics_of_each_class_and_not_too_many(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    metric = {"value": 0.5, "protocol": "so"}
    write_evaluation(run, "a", metrics={"label_accuracy": metric | {"classes": OF_CLASSES}, "fid": metric})
    measurements, _, notes = read_evaluations(run)
    found = class_table(describe(), measurements)
    assert (notes, found.metrics, found.more) == ([], ("label_accuracy",), 0)
    assert found.rows[0] == ClassRow("<b>coat</b>", 0.75, (0.5,))
    assert (found.rows[1].name, found.rows[1].share) == ("bag", 0.25)
    assert found.rows[1].values[0] is not None
    assert np.isnan(found.rows[1].values[0])
    names = tuple(f"class {number}" for number in range(CLASSES_SHOWN + 7))
    many = class_table(describe(names, (1 / len(names),) * len(names)), measurements)
    assert (len(many.rows), many.more, many.rows[5].values) == (CLASSES_SHOWN, 7, (None,))


@pytest.mark.parametrize("classes", [[1], {"a": 5}, {"a": {}}, {str(number): {"value": 1} for number in range(10_001)}])
def test_damaged_values_of_classes_are_left_out_and_noted(classes: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_evaluation(run, "a", metrics={"fid": {"value": 1.0, "protocol": "so", "classes": classes}})
    assert read_evaluations(run) == ([], [], ["evaluations/a.json is damaged and was left out"])


def evaluated(folder: Path) -> Path:
    """Write a conditional run with a measured generator, and with the metrics of an older one."""
    run = write_conditional(folder, describe())
    for name, step, value in (("new", 3, 0.625), ("old", 2, 0.25)):
        classes = {each: {"value": value} for each in NAMES}
        metrics = {"label_accuracy": {"value": value, "protocol": "so", "classes": classes}}
        write_evaluation(run, name, step=step, metrics=metrics)
    return run


def test_the_page_lists_classes_where_there_are_some(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain", image_size=square(16))
    write_generator(plain, small_spec("dcgan"))
    run, out = evaluated(tmp_path / "run"), tmp_path / "report.html"
    report_on([str(plain)], out=str(out), cache_dir=str(tmp_path / "cache"))
    assert 'id="classes"' not in out.read_text()
    assert "one class" not in out.read_text()
    report_on([str(plain), str(run)], out=str(out), cache_dir=str(tmp_path / "cache"))
    page = out.read_text()
    assert '<a href="#classes">' in page
    section = page.split('<section id="classes">')[1].split("</section>")[0]
    cells_of_rows = [re.findall(r">([^<>]+)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", section, re.DOTALL)]
    assert cells_of_rows == [
        ["Class", "Share of the training images", "Label accuracy by a classifier"],
        ["&lt;b&gt;coat&lt;/b&gt;", "75 %", "0.625"],
        ["bag", "25 %", "0.625"],
    ]
    assert "each row shows one class, and all rows have the same noise" in page
    assert "The same position has the same noise in every run" not in page


def test_the_card_names_the_classes_and_how_to_ask_for_one(tmp_path: Path) -> None:
    text = card_text(evaluated(tmp_path / "run"))
    head, body = text.split("\n---\n", 1)
    assert "unconditional" not in text
    assert "- class-conditional-image-generation" in head
    assert "pipeline_tag" not in head
    about: Any = ModelCard(text).data
    assert [each.task_type for each in about.eval_results] == ["other"]
    assert "| class | share of the training images | label\\_accuracy |\n|---|---|---|\n" in body
    assert "| &lt;b&gt;coat&lt;/b&gt; | 75 % | 0.625 |\n| bag | 25 % | 0.625 |\n\n" in body
    snippet, _, with_sampler = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    for code in (snippet, with_sampler):
        ast.parse(code)
    assert "label = np.full(16, 1, np.int64)  # bag\n" in snippet
    assert '{"z": z, "label": label}' in snippet
    assert ".sample(16, seed=0, label='bag')" in with_sampler
    commands = [shlex.split(line) for line in re.findall(r"```bash\n(.*?)```", body, re.DOTALL)[0].splitlines()]
    assert [each[2] for each in commands] == ["wgan_dist.sample", "export.sampler"]
    assert all("--label=bag" in each for each in commands)


def test_no_name_of_a_class_leaves_its_place_in_the_card() -> None:
    hostile = ("a\n```\n# forged", "$(touch x) | <script>")
    text = str(build_card(describe(hostile), None, "", graph="fp32"))
    assert "\n# forged" not in text
    assert "<script>" not in text
    assert "touch x" not in text.split("## Sampling")[1]
    assert "label=0)" in text
    assert "from sampler import Sampler" in text
    assert "python sampler.py generator.onnx --label=0 " in text
    assert "wgan_dist.sample " not in text
