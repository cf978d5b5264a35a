"""The page in a browser, opened from a file: on a phone and on a projector, by mouse and by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import PHONE, PROJECTOR, Visit, visit
from tests.runs import make_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    return make_report(run_dir, folder, gif="true", count="16", neighbours="3").as_uri()


@pytest.fixture(params=[(PHONE, False), (PHONE, True), (PROJECTOR, False), (PROJECTOR, True)], ids=str)
def visited(url: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    size, dark = request.param
    with visit(url, size, dark) as found:
        yield found
        assert found.problems == []
        assert found.requests == []


def sources(page: Page) -> list[str]:
    return [str(image.get_attribute("src")) for image in page.locator("figure[data-run] img").all()]


def shown_step(page: Page) -> str:
    return page.locator("#step-shown").inner_text()


def test_the_page_is_not_wider_than_the_window(visited: Visit) -> None:
    page = visited.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for summary in page.locator("details > summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = "[...document.querySelectorAll('.scroll')].filter((box) => box.getBoundingClientRect().right > innerWidth)"
    assert page.evaluate(f"{cut}.length") == 0


def test_tables_are_read_without_scrolling_on_a_phone_of_390_pixels(url: str) -> None:
    with visit(url, (390, 844)) as found:
        page = found.page
        for summary in page.locator("details > summary").all():
            summary.click()
        wide = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
        assert page.evaluate(f"{wide}.map((box) => box.getAttribute('aria-label'))") == []
        cells = page.locator("#overview tbody td").all()
        before = "(cell) => getComputedStyle(cell, '::before').content"
        assert cells[0].evaluate(before).startswith('"finished')
        assert all(cell.bounding_box()["width"] > 250 for cell in cells)  # type: ignore[index]


def test_every_picture_is_shown(visited: Visit) -> None:
    broken = "[...document.images].filter((image) => !(image.complete && image.naturalWidth)).length"
    assert visited.page.evaluate(broken) == 0
    assert visited.page.evaluate("document.images.length") > 10


def test_the_slider_changes_the_pictures_by_keyboard_and_by_mouse(visited: Visit) -> None:
    page, slider = visited.page, visited.page.locator("#step")
    last = sources(page)
    assert shown_step(page) == "step 6"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert shown_step(page) == "step 3"
    assert slider.get_attribute("aria-valuetext") == "step 3"
    first = sources(page)
    assert [a != b for a, b in zip(first, last, strict=True)] == [True, True]
    page.keyboard.press("End")
    assert sources(page) == last
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    assert sources(page) == first


def test_the_last_weights_have_other_pictures(visited: Visit) -> None:
    averaged = sources(visited.page)
    visited.page.get_by_label("last weights").check()
    assert all(a != b for a, b in zip(averaged, sources(visited.page), strict=True))
    assert "last weights" in str(visited.page.locator("figure[data-run] img").first.get_attribute("alt"))


def test_it_plays_from_the_start_to_the_end(visited: Visit) -> None:
    page, play = visited.page, visited.page.get_by_role("button", name="Play")
    play.focus()
    page.keyboard.press("Enter")
    assert page.locator("#play").inner_text() == "Stop"
    assert shown_step(page) == "step 3"
    page.get_by_role("button", name="Play").wait_for()
    assert shown_step(page) == "step 6"


def test_curves_are_by_step_or_by_time(visited: Visit) -> None:
    page = visited.page
    by_step, by_time = page.locator(".by-step").first, page.locator(".by-time").first
    assert (by_step.is_visible(), by_time.is_visible()) == (True, False)
    page.locator("#by-step").focus()
    page.keyboard.press("ArrowRight")
    assert (by_step.is_visible(), by_time.is_visible()) == (False, True)


def test_every_control_can_be_reached_by_keyboard(visited: Visit) -> None:
    page, reached = visited.page, set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"by-step", "play", "step", "A", "DIV", "SUMMARY"} <= reached


def test_the_animation_is_embedded_in_the_page(visited: Visit) -> None:
    link = visited.page.get_by_role("link", name="animation (GIF)").first
    with visited.page.expect_download() as downloaded:
        link.click()
    assert downloaded.value.suggested_filename == "1-finished-fixed-noise.gif"
    assert Path(downloaded.value.path()).read_bytes().startswith(b"GIF89a")


def test_without_scripts_the_last_pictures_are_shown(url: str) -> None:
    with visit(url, PHONE, scripts=False) as found:
        assert found.page.locator("figure[data-run] img").first.is_visible()
        assert not found.page.locator("#step").is_visible()
        assert len(sources(found.page)) == 2
