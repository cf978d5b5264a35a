"""The table of runs in TensorBoard, and what several processes print."""

import collections
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from tests.processes import TORCHRUN_2, metrics, run
from wgan_dist.checkpoints.run_dir import METRICS_FILE, TENSORBOARD
from wgan_dist.config import Config
from wgan_dist.tracking.logger import TABLE_TAGS, MetricLogger, drop_records_after, settings_table
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

MEASURED = {"evaluate_every": "3", "metrics": "swd", "evaluation_images": "16"}
SWD = "evaluation/sliced_wasserstein"


def table(logdir: Path) -> list[tuple[str, dict[str, object], dict[str, float]]]:
    """Return the rows of TensorBoard's own table of runs, the least sliced Wasserstein distance first."""
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(logdir))
    events.Reload()
    provider = MultiplexerDataProvider(events, str(logdir))
    context = Context(TBContext(logdir=str(logdir), multiplexer=events, data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=99, allowed_statuses=[0, 1, 2, 3])
    for name in TABLE_TAGS:
        request.col_params.add(metric=api_pb2.MetricName(tag=name))
        if name == SWD:
            request.col_params[-1].order = api_pb2.ORDER_ASC
    found = list_session_groups.Handler(RequestContext(), context, "", request).run()
    return [
        (
            group.sessions[0].name,
            {name: value.string_value or value.number_value for name, value in group.hparams.items()},
            {each.name.tag: each.value for each in group.metric_values},
        )
        for group in found.session_groups
    ]


def test_tensorboard_sorts_runs_by_what_was_measured_beside_their_settings(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    for name, own in (("a", {}), ("b", {"generator_lr": "0.05", "generator_features": "auto", "max_steps": "3"})):
        train(tiny | MEASURED | {"run_dir": str(tmp_path / name), "n_critic": "1"} | own)
    last = {name: metrics(tmp_path / name)[-1] for name in "ab"}
    found = table(tmp_path)
    ordered = sorted("ab", key=lambda name: last[name]["sliced_wasserstein"])
    assert [name for name, _, _ in found] == [f"{name}/tensorboard" for name in ordered]
    for name, settings, values in found:
        record = last[name[0]]
        assert settings["generator_lr"] == pytest.approx(0.05 if name[0] == "b" else 3e-4)
        assert settings["generator_features"] == ("auto" if name[0] == "b" else "4")
        assert values[SWD] == pytest.approx(record["sliced_wasserstein"], 1e-6)
        assert values["critic/wasserstein_estimate"] == pytest.approx(record["wasserstein"], 1e-5)
    assert not list(tmp_path.glob("*/tensorboard/*/"))


def test_a_setting_has_one_type_in_every_run() -> None:
    one, other = settings_table(Config()), settings_table(Config(generator_features=3, channels=1, data=("a", "b")))
    assert {name: type(value) for name, value in one.items()} == {name: type(value) for name, value in other.items()}
    assert (one["channels"], other["channels"], other["data"]) == ("auto", "1", "a,b")
    assert (one["compile"], one["n_critic"], one["gp_weight"]) == (False, 5, 10.0)


@pytest.mark.slow
def test_two_processes_have_one_voice(tmp_path: Path, tiny: dict[str, str]) -> None:
    settings = (
        tiny | MEASURED | {"n_critic": "1", "holdout": "0.1", "run_dir": "run", "early_stop": "best", "patience": "1"}
    )
    flags = [f"--{name}={value}" for name, value in settings.items()]
    done = run(*TORCHRUN_2, "-m", "wgan_dist.train", *flags, cwd=tmp_path)
    said = collections.Counter(done.stdout.splitlines())
    assert [line for line, times in said.items() if times > 1 and line] == []
    assert sum(line.startswith("step ") for line in said) >= 2
    refused = run(*TORCHRUN_2, "-m", "wgan_dist.train", *flags, "--trackers=none", cwd=tmp_path, fails=1)
    lines = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert lines == ["error: run_dir=run: exists already; --resume continues it, another name starts a new run"]


@pytest.mark.parametrize("step", ['"3"', '"0_3"', "3.7", "true"])
def test_a_record_whose_step_is_no_number_is_not_resumed(step: str, tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text(f'{{"step": 2}}\n{{"step": {step}}}\n')
    with pytest.raises(UserError, match=f"^{path}: damaged line "):
        drop_records_after(path, 2)


def store_errors_late(frame: FrameType, event: str, _: object) -> Any:
    """Trace a thread so that TensorBoard's one stores an error only after others have looked for it."""
    if event == "exception" and frame.f_code.co_name == "run":
        time.sleep(0.2)
    return store_errors_late


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("is_late", [False, True])
def test_an_event_that_cannot_be_written_is_an_error_at_the_latest_when_the_run_ends(
    is_late: bool, tmp_path: Path
) -> None:
    threading.settrace(store_errors_late if is_late else None)
    try:
        logger = MetricLogger(tmp_path, Config(), 0, 1, fresh=True)
    finally:
        threading.settrace(None)
    logger.writer.flush()
    (events,) = (tmp_path / TENSORBOARD).iterdir()
    events.unlink()
    events.mkdir()  # TensorBoard opens the file for every event
    logger.writer.add_scalar("a", 1.0, 1)
    with pytest.raises(OSError, match="Is a directory"):
        logger.close()
