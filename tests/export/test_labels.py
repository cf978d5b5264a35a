"""The classes of samples: chosen by name or number, or drawn; the same for every sampler of Python."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from export.sampler import MAX_CLASSES, Label, Sampler, SamplerError, class_numbers, drawn_classes
from tests.exports import export_onnx
from tests.faults.hostile.graphs import WEIGHT, graph
from tests.generators import CLASS_SHARES, CLASSES, small_spec, write_generator
from tests.processes import PYTHON, run
from wgan_dist.hub import PICTURE, Generator
from wgan_dist.utils.class_draws import sample_classes
from wgan_dist.utils.errors import UserError

COUNT = len(CLASSES)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a conditional generator, beside its generator file."""
    path = write_generator(tmp_path_factory.mktemp("conditional"), small_spec("mlp_bn", classes=COUNT))
    export_onnx({"ckpt": str(path)})
    return path.with_suffix(".onnx")


@pytest.fixture(scope="module")
def sampler(conditional: Path) -> Sampler:
    return Sampler(conditional, provider="cpu", batch_size=8)


@pytest.fixture(scope="module")
def generator(conditional: Path) -> Generator:
    return Generator.from_pretrained(conditional.with_suffix(".safetensors"))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 40), st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 2**70),
    st.integers(0, 30),
)  # fmt: skip
def test_drawn_classes_are_those_of_training(count: int, weights: list[int], seed: int, start: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    every = sample_classes(start + count, np.array(shares), seed)
    assert drawn_classes(count, shares, seed, start).tolist() == every[start:].tolist()


def test_drawn_classes_have_their_shares() -> None:
    drawn = drawn_classes(100_000, CLASS_SHARES, seed=3)
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), CLASS_SHARES, atol=0.005)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("sneaker", [2, 2]),
        (2, [2, 2]),
        (np.int64(2), [2, 2]),
        ("2", [2, 2]),
        ("3", [1, 1]),  # the name of class 1
        (3, [3, 3]),
        (["3", 3], [1, 3]),
        (np.array([0, 2]), [0, 2]),
    ],
)
def test_a_name_comes_before_a_number_given_as_text(label: Label, expected: list[int]) -> None:
    found = class_numbers(label, 2, CLASSES)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_images_of_a_class_equal_those_of_torch(sampler: Sampler, generator: Generator) -> None:
    assert sampler.classes == generator.classes == CLASSES
    z = torch.from_numpy(sampler.latents(20, seed=5))
    for label in (None, "sneaker", 3, [number % COUNT for number in range(20)]):
        numbers = sample_classes(20, np.array(CLASS_SHARES), 5) if label is None else class_numbers(label, 20, CLASSES)
        assert set(numbers.tolist()) == set(range(COUNT)) or isinstance(label, str | int)
        with torch.no_grad():
            images = generator(z, torch.from_numpy(numbers)).permute(0, 2, 3, 1).numpy()
        expected = np.rint((images.astype(np.float64) + 1) * 127.5)
        for found in (
            sampler.sample(20, 5, label),
            np.concatenate(list(sampler.stream(20, 5, label))),
            generator.sample(20, 5, label),
            sampler.images(z.numpy(), numbers),
        ):
            assert np.abs(found - expected).max() <= 1
            assert (found == expected).mean() > 0.99


def test_the_latents_do_not_depend_on_the_class(sampler: Sampler) -> None:
    drawn, labels = sampler.sample(20, seed=5), sampler.labels(20, seed=5)
    assert labels is not None
    chosen = sampler.sample(20, seed=5, label=2)
    same = [np.array_equal(one, other) for one, other in zip(drawn, chosen, strict=True)]
    assert same == (labels == 2).tolist()


WRONG: list[tuple[Any, str]] = [
    ("sneeker", "label=sneeker: expected a class such as sneaker, "),
    (COUNT, f"label={COUNT}: expected a class such as .*, or a number from 0 to {COUNT - 1}"),
    (-1, "label=-1: expected a class"),
    ("-1", "label=-1: expected a class"),
    (1.0, "label=1.0: expected a class"),
    ([0] * 5, "label: 5 labels for 6 samples; expected one for each"),
    ([0, 1, 2, 3, COUNT, 0], f"label={COUNT}: expected a class"),
]


@pytest.mark.parametrize(("label", "words"), WRONG)
def test_a_class_that_does_not_exist_is_an_error(
    label: Any, words: str, sampler: Sampler, generator: Generator
) -> None:
    z = sampler.latents(6)
    for draw in (partial(sampler.sample, 6, 0), partial(sampler.images, z), partial(sampler.outputs, z)):
        with pytest.raises(SamplerError, match=f"^{words}"):
            draw(label)
    with pytest.raises(SamplerError, match=f"^{words}"):
        next(sampler.stream(6, 0, label))
    with pytest.raises(UserError, match=f"^{words}"):
        generator.sample(6, 0, label)


def test_latents_of_ones_own_need_a_class(sampler: Sampler) -> None:
    with pytest.raises(SamplerError, match="^label=None: expected a class such as"):
        sampler.images(sampler.latents(2))


def test_a_label_for_a_file_without_classes_is_an_error(exported_dcgan: Path) -> None:
    sampler = Sampler(exported_dcgan, provider="cpu")
    assert sampler.classes == ()
    for draw in (partial(sampler.sample, 2, 0), partial(sampler.images, sampler.latents(2))):
        with pytest.raises(SamplerError, match="^label=sneaker: this generator has no classes; expected no label$"):
            draw("sneaker")
    with pytest.raises(UserError, match="^label=0: this generator has no classes; expected no label$"):
        Generator.from_pretrained(exported_dcgan.with_suffix(".safetensors")).sample(2, label=0)


def test_the_command_draws_one_class(conditional: Path, sampler: Sampler, tmp_path: Path) -> None:
    command = [*PYTHON, "-m", "export.sampler", str(conditional), "--count=4", "--seed=2", "--out=g.npy"]
    run(*command, "--label=3", cwd=tmp_path)
    found = np.load(tmp_path / "g.npy").transpose(0, 2, 3, 1)
    assert np.abs(found.astype(int) - sampler.sample(4, 2, 1)).max() <= 1
    failed = run(*command, "--label=boat", cwd=tmp_path, fails=2)
    assert failed.stderr.startswith("error: label=boat: expected a class such as ")
    assert failed.stderr.count("\n") == 1


def test_a_saved_generator_keeps_its_classes(generator: Generator, tmp_path: Path) -> None:
    generator.save_pretrained(tmp_path)
    assert (tmp_path / PICTURE).is_file()
    assert Generator.from_pretrained(tmp_path).classes == CLASSES


HOSTILE = [
    ({"classes": '"ab"'}, "classes: expected 1 to 10,000 names"),
    ({"classes": "[]"}, "classes: expected 1 to 10,000 names"),
    ({"classes": str(["a"] * (MAX_CLASSES + 1)).replace("'", '"')}, "classes: expected 1 to 10,000 names"),
    ({"classes": '["a", "a"]'}, "classes: expected different texts"),
    ({"classes": '["a", 1]'}, "classes: expected different texts"),
    ({"classes": '["a", ["b"]]'}, "classes: expected different texts"),
    ({"classes": '["a", "\\ud800"]'}, "classes: expected different texts"),
    ({"classes": "nonsense"}, "Expecting value"),
    ({"classes": "[" * 100_000}, ""),
    ({"class_shares": "[0.5, 0.6]"}, "class_shares: expected numbers that add up to 1"),
    ({"class_shares": "[0.5]"}, "class_shares: expected 2 numbers from 0 to 1"),
    ({"class_shares": "[1.5, -0.5]"}, "class_shares: expected 2 numbers from 0 to 1"),
    ({"class_shares": "[NaN, 1.0]"}, "class_shares: expected 2 numbers from 0 to 1"),
    ({"class_shares": '["0.5", 0.5]'}, "class_shares: expected 2 numbers from 0 to 1"),
    ({"class_shares": "{}"}, "class_shares: expected 2 numbers from 0 to 1"),
]
GOOD = {"classes": '["a", "b"]', "class_shares": "[0.5, 0.5]"}


def with_label(about: dict[str, str], kind: int = TensorProto.INT64, shape: tuple[Any, ...] = ("n",)) -> bytes:
    """Return a graph with two inputs, whose images are the sum of a product of latents and the label."""
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "to"], ["maps"]),
        helper.make_node("Cast", ["label"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "ones"], ["column"]),
        helper.make_node("Add", ["maps", "column"], ["images"]),
    ]
    ones = helper.make_tensor("ones", TensorProto.INT64, [4], [-1, 1, 1, 1])
    label = helper.make_tensor_value_info("label", kind, list(shape))
    return graph([WEIGHT, ones], about, nodes, more_inputs=[label])


@pytest.mark.parametrize(("about", "words"), HOSTILE)
def test_classes_that_no_generator_has_are_refused(about: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(with_label(GOOD | about))
    with pytest.raises(SamplerError, match=re.escape(f"not a generator written by export.onnx: {words}")):
        Sampler(path, provider="cpu")


@pytest.mark.parametrize(
    "content",
    [
        with_label({}),
        graph([WEIGHT], GOOD),
        with_label(GOOD, kind=TensorProto.INT32),
        with_label(GOOD, shape=("n", 1)),
        with_label(GOOD, shape=(1,)),
        with_label(GOOD, shape=()),
    ],
    ids=["no names", "no input", "int32", "matrix", "fixed", "scalar"],
)
def test_inputs_that_do_not_fit_the_classes_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(SamplerError, match="not a generator written by export.onnx: its (inputs are|batch size)"):
        Sampler(tmp_path / "g.onnx", provider="cpu")


def test_the_label_reaches_the_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(with_label(GOOD))
    sampler = Sampler(tmp_path / "g.onnx", provider="cpu")
    z = sampler.latents(3)
    difference = sampler.outputs(z, ["b", "a", 1]) - sampler.outputs(z, "a")
    np.testing.assert_allclose(difference, np.array([1, 0, 1])[:, None, None, None] * np.ones((3, 1, 2, 2)), atol=1e-6)
