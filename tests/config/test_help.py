"""The text of --help: usage, groups, and the width of the terminal."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import pytest

from export.settings import BundleSettings, OnnxSettings, ProgramSettings, TorchScriptSettings, WebSettings
from tests.config.test_fields import AllKinds
from wgan_dist.config import Config
from wgan_dist.config.fields import setting
from wgan_dist.config.help import group_help_text, group_name, help_text
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.evaluate import EvaluateSettings
from wgan_dist.model_card import CardSettings
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.sample import SampleSettings
from wgan_dist.train import USAGE
from wgan_dist.utils.errors import UserError

COMMANDS = (
    Config,
    SampleSettings,
    EvaluateSettings,
    ReportOptions,
    InspectSettings,
    CardSettings,
    OnnxSettings,
    TorchScriptSettings,
    ProgramSettings,
    BundleSettings,
    WebSettings,
)


def test_the_help_has_a_line_for_every_setting_below_its_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = [" ".join(line.split()) for line in help_text(AllKinds, "\nusage\n").splitlines()]
    assert [line for line in lines if line] == [
        "usage",
        "--help=GROUP shows one group of settings: first, second.",
        "The first:",
        "--flag a switch",
        "--whole a count (default 7)",
        "--number a share (default 0.5)",
        "--word a text",
        "--kind a choice [one | two] (default one)",
        "The second:",
        "--names some texts (default a,b)",
        "--pair two shares (default 0,0.9)",
        "--perhaps a count, or the program's choice (default auto)",
        "--even a count with a parser (default 4)",
        "--size one of some sizes [1 | 3] (default auto)",
        "--seed a large count (default 0)",
        "--extras no, one or more texts",
    ]


@pytest.mark.parametrize("columns", [40, 59, 60, 80, 200])
def test_the_help_is_as_wide_as_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_text(Config, USAGE).splitlines()
    assert columns - 20 < max(map(len, lines)) <= columns
    assert [line.split()[0] for line in lines if line.startswith("  --")] == [f"--{name}" for name in vars(Config())]


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_the_commands_of_a_usage_stay_whole(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = re.sub(r" \\\n +", " ", help_text(Config, USAGE))
    commands = [line.strip().partition("  ")[0] for line in USAGE.splitlines() if line.startswith("  ")]
    assert len(commands) > 3
    assert all(command in text for command in commands)


@pytest.mark.parametrize("settings", COMMANDS)
def test_every_setting_of_every_command_is_explained_by_a_sentence_in_a_group(settings: type[Any]) -> None:
    fields = [field for field in dataclasses.fields(settings) if not field.metadata["positional"]]
    assert fields[0].metadata["group"]
    for field in fields:
        words = field.metadata["help"]
        assert words[0].isupper() or words[0].isdigit(), words
        assert words.endswith("."), words


@pytest.mark.parametrize("settings", COMMANDS)
def test_groups_of_a_command_have_different_names(settings: type[Any]) -> None:
    headings = [field.metadata["group"] for field in dataclasses.fields(settings) if field.metadata["group"]]
    assert len({group_name(heading) for heading in headings}) == len(headings)


def test_the_help_shows_a_default_of_zero() -> None:
    @dataclass(frozen=True)
    class One:
        seed: int = setting(0, "of the draws")

    assert "(default 0)" in help_text(One, "")


def test_a_group_is_shown_alone() -> None:
    text = group_help_text(Config, "data")
    assert text.startswith("Choose the data:\n  --data ")
    assert "--image_size " in text
    assert "--batch_size " not in text
    assert group_help_text(Config, "METHOD").startswith("Choose the method:\n")


def test_an_unknown_group_is_answered_with_the_groups() -> None:
    with pytest.raises(
        UserError, match=r"^help=dat: expected one of run, data, networks, method, speed, save, evaluate, generator$"
    ):
        group_help_text(Config, "dat")
