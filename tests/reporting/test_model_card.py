"""The model card: its metadata for the Hub, its text, and its Python snippets, which run."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from export.sampler import Sampler
from tests.exports import export_onnx
from tests.generators import small_spec, write_generator
from tests.processes import PYTHON, run
from tests.runs import write_evaluation, write_run, write_sample
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.reporting.model_card import MARK, _newest_sample, build_card, card_text, write_card
from wgan_dist.utils.errors import UserError

TASK = "unconditional-image-generation"
BEST = {"metric": "fid", "value": 8.5, "step": 2, "checkpoint": "step-00000002", "protocol": "of the best"}


def make_run(folder: Path, **settings: Any) -> Path:
    """Write a run whose generator of step 3 was measured during and after training, and an earlier one as the best."""
    records: list[dict[str, Any]] = [
        {"step": 1, "fid": 12.0},
        {"step": 3, "fid": 9.0, "kid": 0.5, "recall": None},
        {"step": 3.0},
    ]
    run_dir = write_run(folder, records, **settings)
    write_generator(run_dir, small_spec("dcgan"), "cifar10")
    write_evaluation(run_dir, "b", step=3, data="cifar10", metrics={"fid": {"value": 7.25, "protocol": "50,000 each"}})
    write_evaluation(
        run_dir, "a", step=2, source="best.safetensors", metrics={"fid": {"value": 6.0, "protocol": "50,000 each"}}
    )
    (run_dir / "best.json").write_text(json.dumps(BEST))
    return run_dir


def head(text: str) -> dict[str, Any]:
    """Return the metadata, as huggingface_hub parses it."""
    data: Any = ModelCard(text).data
    return dict(data.to_dict())


def rows(text: str) -> list[tuple[str, ...]]:
    """Return the cells of each row of the card's tables."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]


def test_the_metadata_are_those_of_the_hub(tmp_path: Path) -> None:
    found: Any = ModelCard(card_text(make_run(tmp_path / "run", license="CC0-1.0"))).data
    assert found.license == "cc0-1.0"
    assert (found.library_name, found.pipeline_tag) == ("wgan_dist", TASK)
    assert {"gan", "wgan", "wgan-gp", TASK} <= set(found.tags)
    assert found.datasets == ["uoft-cs/cifar10"]
    results = {(each.metric_type, each.metric_value, each.metric_args["protocol"]) for each in found.eval_results}
    assert results == {
        ("fid", 7.25, "50,000 each; data: cifar10"),
        ("kid", 0.5, "recorded in training, evaluation_images=1,024"),
    }
    assert {(each.task_type, each.dataset_type) for each in found.eval_results} == {(TASK, "uoft-cs/cifar10")}


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("", {}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-only", {"license": "other", "license_name": "GPL-3.0-only"}),
    ],
)
def test_a_licence_has_the_name_that_the_hub_knows(named: str, expected: dict[str, str]) -> None:
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, "photos", "", "", named, "0")
    found = head(str(build_card(about, None, "")))
    assert {name: value for name, value in found.items() if name.startswith("license")} == expected


@pytest.mark.parametrize(
    ("description", "license", "asked"),
    [
        ("", "", {"description", "license"}),
        ("cats", "", {"license"}),
        (" ", "MIT", {"description"}),
        ("cats", "MIT", set()),
    ],
)
def test_a_missing_licence_or_description_is_asked_for(description: str, license: str, asked: set[str]) -> None:
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, "photos", "", description, license, "0")
    text = str(build_card(about, None, ""))
    assert set(re.findall(r"`--(\w+)=…`", text.split("## Training")[0])) == asked
    assert ("Missing: " in text) == bool(asked)


def test_every_metric_has_its_file_and_protocol(tmp_path: Path) -> None:
    metrics = [row for row in rows(card_text(make_run(tmp_path / "run"))) if len(row) == 5]
    assert set(metrics[1:]) == {
        ("fid", "7.25", "", "generator.safetensors, step 3", "50,000 each; data: cifar10"),
        ("fid", "6", "", "best.safetensors, step 2", "50,000 each; data: digits"),
        ("fid", "8.5", "", "best.safetensors, step 2", "of the best"),
        ("kid", "0.5", "", "averaged weights, step 3", "recorded in training, evaluation\\_images=1,024"),
    }


def test_the_facts_are_those_of_the_run_and_its_file(tmp_path: Path) -> None:
    made = make_run(
        tmp_path / "run", penalty="lp", gp_weight=2.5, n_critic=3, batch_size=17, seed=5, spectral_norm="both"
    )
    write_sample(made, 2, "ema", 9)
    write_sample(made, 10, "ema", 9)
    write_sample(made, 11, "raw", 9)
    text = card_text(made)
    facts = dict(row for row in rows(text) if len(row) == 2)
    assert facts["Method"] == "loss wasserstein, penalty lp, weight 2.5, spectral norm: both"
    assert facts["Schedule"] == "3 critic iterations per generator step, batch size 17"
    assert (facts["Data"], facts["Training images"]) == ("cifar10", "1,797")
    assert facts["Length"] == "3 generator steps; the critic saw 48 real examples"
    assert facts["Latent vector"] == "8 numbers, normal"
    assert (facts["Seed"], facts["Network"]) == ("5", "dcgan, 4 features, norm batch")
    assert "](samples/step-00000010-ema.png)" in text
    assert "Petzka" in text
    assert "Gulrajani" not in text
    assert "Miyato" in text
    assert "wgan-gp" not in head(text)["tags"]


def test_a_single_file_has_a_card_without_training_settings(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    assert write_card(path) == tmp_path / "README.md"
    text = (tmp_path / "README.md").read_text()
    assert "pipeline_tag" not in head(text)
    assert "No metrics of this generator have been measured." in text
    assert "![" not in text
    assert dict(row for row in rows(text) if len(row) == 2)["Training points"] == "1,797"
    assert "Schedule" not in text
    assert text.endswith("\n")


def test_only_a_readme_of_this_package_is_replaced(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    readme = tmp_path / "README.md"
    write_card(path)
    first = readme.read_text()
    readme.write_text(f"older\n{MARK}\n")
    assert write_card(path) == readme
    assert readme.read_text() == first
    readme.write_bytes(b"my own \xff words")
    assert write_card(path) is None
    assert readme.read_bytes() == b"my own \xff words"


HOSTILE = "---\n# <script>alert(1)</script> | `x` {{ 7 * 7 }} [a](b)"


def test_texts_of_a_file_are_escaped(tmp_path: Path) -> None:
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, HOSTILE, "", HOSTILE, HOSTILE, "0")
    text = str(build_card(about, None, ""))
    assert "<script>" not in text.split("\n---\n", 1)[1]
    assert "49" not in text
    assert "[a](b)" not in text.split("\n---\n", 1)[1]
    assert dict(row for row in rows(text) if len(row) == 2)["Data"].startswith("--- \\# &lt;script&gt;")
    assert head(text)["license_name"] == " ".join(HOSTILE.split())


def test_no_text_of_a_file_ends_the_metadata_or_moves_a_cursor(tmp_path: Path) -> None:
    hostile = "cats\n---\n# forged\x1b]52;c;AA\x07 \u202egnp"
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, hostile, "", hostile, hostile, "0")
    text = str(build_card(about, None, ""))
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    assert text.count("\n---\n") == 1
    assert "# forged" not in [line.strip() for line in text.splitlines()]
    assert r"cats --- \# forged\\x1b\]52;c;AA\\x07 \\u202egnp" in text


def test_the_picture_of_a_card_is_a_file_of_the_run_and_no_html(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-9)<img src=x onerror=y>-ema.png", "step-00000003-ema.png", "step-00000012-ema.png"):
        (tmp_path / "samples" / name).touch()
    assert _newest_sample(tmp_path) == "samples/step-00000012-ema.png"
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, "digits", "", "", "", "0")
    card = str(build_card(about, None, "a) <b>.png"))
    assert "![Samples of the generator](a%29%20%3Cb%3E.png)" in card


@pytest.mark.parametrize("damage", [{"steps": "many"}, {"latent_distribution": 5}, {"description": None}])
def test_a_damaged_description_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    about = Description(small_spec("dcgan"), "normal", "ema", 3, 48, 1797, "digits", "", "", "", "0")
    (tmp_path / EMA_FILE).write_bytes(generator_file.to_bytes({}, dataclasses.replace(about, **damage)))
    with pytest.raises(UserError, match="the description of the generator is damaged"):
        card_text(tmp_path / EMA_FILE)


def test_a_custom_network_has_a_card_without_being_imported(tmp_path: Path) -> None:
    spec = NetworkSpec("no_such_module:Own", small_spec("dcgan").arguments)
    about = Description(spec, "normal", "ema", 3, 48, 1797, "digits", "", "", "", "0")
    (tmp_path / EMA_FILE).write_bytes(generator_file.to_bytes({}, about))
    assert "from_pretrained(\".\", generator='no_such_module:Own')" in card_text(tmp_path / EMA_FILE)


@pytest.mark.parametrize(("name", "distribution"), [("dcgan", "normal"), ("mlp_bn", "uniform"), ("points", "normal")])
def test_the_snippets_run_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, distribution: str
) -> None:
    path = write_generator(tmp_path, small_spec(name), distribution=distribution)
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "generator.onnx")})
    with_onnx, with_torch = re.findall(r"```python\n(.*?)```", card_text(path), re.DOTALL)
    assert len(with_onnx.strip().splitlines()) <= 5
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(with_onnx, found)
    sampler = Sampler("generator.onnx")
    assert found["z"].shape == (16, 8)
    assert abs(float(np.abs(found["z"]).max()) - 1) < 0.2 or distribution == "normal"
    if name == "points":
        np.testing.assert_array_equal(found["samples"], sampler.images(found["z"]))
    else:
        np.testing.assert_array_equal(found["pixels"], sampler.images(found["z"]))
        assert f"# float32 {list(found['samples'].shape)} in [-1, 1]" in with_onnx
    exec(with_torch, found)
    assert f"[{', '.join(map(str, found['samples'].shape))}]" in with_torch
    np.testing.assert_allclose(found["samples"].astype(float), sampler.sample(16), atol=1 if name != "points" else 1e-5)


def test_a_finished_run_has_a_card_and_the_command_updates_it(run_dir: Path, tmp_path: Path) -> None:
    assert "(samples/step-00000006-ema.png)" in (run_dir / "README.md").read_text()
    copy = tmp_path / "tiny"
    shutil.copytree(run_dir, copy)
    write_evaluation(copy, "later", step=6, metrics={"fid": {"value": 1.5, "protocol": "later"}})
    command = (*PYTHON, "-m", "wgan_dist.model_card", f"--ckpt={copy}")
    assert run(*command, cwd=tmp_path).stdout == f"{copy}/README.md\n"
    assert head((copy / "README.md").read_text())["model-index"][0]["results"][0]["metrics"][0]["value"] == 1.5
    (copy / "README.md").write_text("mine")
    refused = run(*command, cwd=tmp_path, fails=2).stderr
    assert refused == f"error: ckpt={copy}: wgan_dist did not write the README.md in its folder, and keeps it\n"


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"ckpt={tmp_path}: expected a run folder or a generator.safetensors"):
        write_card(tmp_path)
