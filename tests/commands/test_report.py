"""The report command: the page needs no other file, escapes texts of users, and errors name the setting."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.processes import PYTHON, run
from tests.runs import HOSTILE_NAME, HOSTILE_WORDS, make_report, report_on, write_run
from wgan_dist.utils.errors import UserError


class Reader(HTMLParser):
    """The tags and texts of a page, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(run_dir, tmp_path_factory.mktemp("report"), gif="true", count="16", neighbours="3")


@pytest.fixture(scope="module")
def read(page: Path) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_outside(read: Reader) -> None:
    addresses = [
        attributes[name] for _, attributes in read.tags for name in ("src", "srcset", "href") if name in attributes
    ]
    assert len(addresses) > 20
    assert [each[:40] for each in addresses if not each.startswith(("data:", "#"))] == []
    assert not read.attributes("link") or [each["rel"] for each in read.attributes("link")] == ["icon"]


def test_every_picture_can_be_opened_and_has_a_description(read: Reader) -> None:
    for attributes in read.attributes("img"):
        kind, content = attributes["src"].split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert f"data:{picture.get_format_mimetype()}" == kind
            assert [str(side) for side in picture.size] == [attributes["width"], attributes["height"]]
        assert attributes["alt"]


def test_the_pngs_are_in_the_folder_beside_the_page(page: Path) -> None:
    names = {str(path.relative_to(page.parent)) for path in page.parent.glob("report_files/**/*.*")}
    assert {
        f"report_files/1-finished/step-0000000{step}-{kind}.png" for step in (3, 6) for kind in ("ema", "raw")
    } <= names
    assert {f"report_files/1-finished/{name}" for name in ("final.png", "neighbours.png", "fixed_noise.gif")} <= names
    assert {f"report_files/curves/wasserstein-by-{axis}.png" for axis in ("step", "time")} <= names
    assert "report_files/3-points/final.png" in names
    assert not any("points/neighbours" in name or "begun" in name for name in names)


def test_texts_of_users_are_escaped(page: Path, read: Reader) -> None:
    assert len(read.attributes("script")) == 2
    assert all("onerror" not in attributes for attributes in read.attributes("img"))
    words = " ".join(read.words)
    assert HOSTILE_NAME in words
    assert HOSTILE_WORDS in words
    (frames,) = re.findall(r'id="frames">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert "<" not in frames
    assert HOSTILE_NAME in json.loads(frames)["ema"][1][0]["alt"]


def test_the_slider_has_every_frame_in_order(page: Path) -> None:
    (frames,) = re.findall(r'id="frames">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    for kind in ("ema", "raw"):
        assert [[frame["step"] for frame in run] for run in json.loads(frames)[kind]] == [[3, 6], [3, 6], [], []]


def test_differences_are_marked_and_missing_parts_are_explained(read: Reader) -> None:
    words = " ".join(" ".join(read.words).split())
    assert "≠ gp_weight" in words
    assert "≠ seed" in words  # the points' and the new run's are the default
    assert "≠ optimizer" not in words
    assert "metrics.jsonl does not exist: nothing has been recorded yet" in words
    assert "This run generates points, not images." in words
    assert "This run has not saved samples yet." in words
    assert words.count("this run has no checkpoint yet; the first comes after step 1,000 (checkpoint_every=1000)") == 2
    assert f"finished, {HOSTILE_NAME}: not fid, kid: no weights." in words
    assert "The same position has the same noise in every run." in words
    assert "6 of 6 generator steps, finished" in words
    assert "0 of 100,000 generator steps, unfinished" in words
    assert words.count("16.9") == words.count("17.1") == 1


def test_run_folders_are_given_without_flags(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, [{"step": 1, "wasserstein": 1.0}])
    module = (*PYTHON, "-m", "wgan_dist.report")
    done = run(*module, "runs/a", "--timing=false", "runs/b", "--out=deep/r.html", cwd=tmp_path)
    assert done.stdout.splitlines()[-1].startswith("deep/r.html: ")
    assert "Comparison of 2 training runs" in (tmp_path / "deep" / "r.html").read_text(encoding="utf-8")


def test_charts_of_unknown_keys_stay_in_the_folder_and_name_differing_settings(tmp_path: Path) -> None:
    records = [{"step": step, "../../../escaped": step, "$x^$": step, "fid": step} for step in (1, 2)]
    runs = [write_run(tmp_path / "runs" / f"{count}", records, evaluation_images=count) for count in (256, 512)]
    out = tmp_path / "deep" / "er" / "report.html"
    report_on([str(run) for run in runs], out=str(out))
    files = out.parent / "report_files" / "curves"
    assert len(list(files.glob("*.png"))) == len(list(tmp_path.rglob("*.png"))) == 12
    assert "Measured with different settings: evaluation_images is 256 in 256, 512 in 512." in out.read_text(
        encoding="utf-8"
    )


def test_values_that_do_not_change_are_said_in_words(tmp_path: Path) -> None:
    records = [{"step": step, "critic_lr": 1e-4, "generator_lr": 3e-4, "fid": 8.0 / step} for step in (1, 2)]
    run_dir, out = write_run(tmp_path / "a", records), tmp_path / "report.html"
    report_on([str(run_dir)], out=str(out))
    words = " ".join(Reader(out.read_text(encoding="utf-8")).words)
    assert "Learning rates: critic 0.0001, generator 0.0003" in words
    assert "FID: " not in words
    assert {path.name for path in tmp_path.rglob("*.png")} == {
        f"fid-by-{axis}{theme}.png" for axis in ("step", "time") for theme in ("", "-dark")
    }


@pytest.mark.parametrize(
    ("folders", "flags", "message"),
    [
        ([], {}, "^runs: expected one or more run folders, as runs/a runs/b$"),
        (["."], {"out": "report.pdf"}, "out=report.pdf: expected a file ending in .html"),
        (["."], {"outt": "x"}, "unknown setting outt; did you mean out"),
        (["."], {"frames": "1"}, "frames=1: expected at least 2"),
        (["nowhere"], {}, "^runs=nowhere: expected a run folder; there is no config.yaml in it$"),
        (["run", "run/../run"], {}, "^runs=run,run/../run: expected different run folders; one is given twice$"),
    ],
)
def test_errors_name_the_setting(
    folders: list[str], flags: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        report_on(folders, **flags)
