"""A run folder that names programs, its own and others: no command imports or runs one that the user does not name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.exports import export_bundle, export_onnx, export_web
from tests.generators import OWN_NETWORK, small_spec, write_generator
from tests.runs import report_on, write_run
from wgan_dist import summary
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.config.fields import from_flags
from wgan_dist.config.image_size import square
from wgan_dist.evaluate import EvaluateSettings
from wgan_dist.evaluate_files import evaluate
from wgan_dist.hub import Generator
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.reporting.model_card import write_card
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.train import fit, parse_settings
from wgan_dist.utils.errors import UserError

NETWORK = "RUN.evil:Own"
NAMED = {
    "generator": NETWORK,
    "critic": NETWORK,
    "feature_extractor": "RUN/evil.pt",
    "classifier": "RUN/evil.pt",
    "labels": "auto",
    "evaluate_every": 1,
    "trackers": ("mlflow",),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, from which Python can import, with a stranger's run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run_dir = write_run(
        tmp_path / "RUN", [{"step": 1, "wasserstein": 1.0}], image_size=square(8), latent_dim=3, **NAMED
    )
    (run_dir / "evil.py").write_text(OWN_NETWORK)
    arguments = {"latent_dim": 3, "image_size": square(8), "channels": 1, "features": None, "norm": "auto"}
    about = Description(NetworkSpec(NETWORK, arguments), "normal", "ema", 1, 64, 1797, "digits", "", "", "", "")
    state = {"body.weight": torch.zeros(64, 3), "body.bias": torch.zeros(64)}
    (run_dir / EMA_FILE).write_bytes(generator_file.to_bytes(state, about))
    return tmp_path


def was_run(folder: Path) -> bool:
    return (folder / "RUN" / "imported").exists()


READ: dict[str, Callable[[], object]] = {
    "report": lambda: report_on(["RUN"], out="report.html", count="4"),
    "model_card": lambda: write_card(Path("RUN")),
}
REFUSED: dict[str, Callable[[], object]] = {
    "resume": lambda: parse_settings({"run_dir": "RUN", "resume": "true"}),
    "resume in a dry run": lambda: parse_settings({"run_dir": "RUN", "resume": "auto", "dry_run": "true"}),
    "recipe": lambda: parse_settings({"recipe": "RUN/config.yaml"}),
    "fit": lambda: fit(recipe="RUN/config.yaml"),
    "summary": lambda: summary.parse_settings({"recipe": "RUN/config.yaml"}),
    "init_from": lambda: fit(init_from=f"RUN/{EMA_FILE}", run_dir="new", threads=1, max_steps=1),
    "sample": lambda: sample(SampleSettings(ckpt="RUN")),
    "evaluate": lambda: evaluate(from_flags(EvaluateSettings, {"ckpt": "RUN", "count": "4"})),
    "from_pretrained": lambda: Generator.from_pretrained("RUN"),
    "onnx": lambda: export_onnx({"ckpt": "RUN"}),
    "bundle": lambda: export_bundle({"ckpt": "RUN", "out": "bundle/"}),
    "web": lambda: export_web({"ckpt": "RUN", "out": "page/"}),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ.keys())
def test_a_command_that_only_reads_runs_nothing(read: Callable[[], object], folder: Path) -> None:
    read()
    assert not was_run(folder)


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED.keys())
def test_a_command_that_needs_the_network_asks_for_its_name(use: Callable[[], object], folder: Path) -> None:
    with pytest.raises(UserError, match=f"if you trust it: --generator={NETWORK}( |$)"):
        use()
    assert not was_run(folder)


def test_the_user_can_name_it(folder: Path) -> None:
    sample(SampleSettings(ckpt="RUN", generator=NETWORK))
    assert was_run(folder)


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_a_command_downloads_no_data_that_a_run_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a download")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    run, cache = write_run(tmp_path / "run", image_size=16, data=("mnist",)), str(tmp_path / "cache")
    write_generator(run, small_spec("dcgan"), "mnist")
    if command == "report":
        report_on([str(run)], out=str(tmp_path / "report.html"), count="4", cache_dir=cache)
        told = capsys.readouterr().err
    else:
        with pytest.raises(UserError) as error:
            evaluate(from_flags(EvaluateSettings, {"ckpt": str(run), "count": "4", "cache_dir": cache}))
        told = str(error.value)
    assert f"python -m wgan_dist.data inspect --data=mnist --cache_dir={cache} downloads it" in told
