"""The page in a browser, served from a sub-folder: it shows the images of Python, and is accessible."""

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from export.sampler import Sampler, enlarged, grid, latents
from tests.browser import PHONE, PROJECTOR, Visit, served, visit
from tests.exports import export_web
from tests.generators import CLASSES, SMALL_SIZE, point_spec, small_spec, write_generator
from wgan_dist.config.image_size import ImageSize
from wgan_dist.sampling import interpolate
from wgan_dist.utils.levels import Levels

pytestmark = pytest.mark.browser

READY_MILLISECONDS = 60_000
DIRECTIONS_SEED = 1234
# Vulkan and WebGPU computed by the processor.
SOFTWARE_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
    "--ignore-gpu-blocklist",
)
# What the page asks of its worker is late, as on a slow phone.
SLOW = """
const send = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message) {
  setTimeout(() => send.call(this, message), message.name === "images" ? 400 : 0);
};
"""
PIXELS = "(canvases) => canvases.map((each) => each.toDataURL())"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that keeps the npm package between these tests."""
    return tmp_path_factory.mktemp("npm")


Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def write_page(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Return a function that writes the page of an untrained generator into an otherwise empty folder."""

    def write(
        channels: int = 3,
        distribution: str = "normal",
        size: ImageSize = SMALL_SIZE,
        classes: int = 0,
        **values: object,
    ) -> Path:
        folder = tmp_path_factory.mktemp("site")
        spec = small_spec("dcgan", channels, size=size, classes=classes)
        generator = write_generator(tmp_path_factory.mktemp("of"), spec, "digits", distribution, **values)
        export_web({"ckpt": str(generator), "out": str(folder / "sub" / "page"), "cache_dir": str(cache)})
        return folder / "sub" / "page"

    return write


@pytest.fixture(scope="module")
def page_folder(write_page: Writer) -> Path:
    return write_page()


@pytest.fixture(scope="module")
def site(page_folder: Path) -> Iterator[str]:
    """Serve the page and return its address."""
    with served(page_folder.parent.parent) as server:
        yield f"{server}sub/page/"


@pytest.fixture(scope="module")
def sampler(page_folder: Path) -> Sampler:
    return Sampler(page_folder / "generator.onnx", provider="cpu", threads=1)


def wait_for(page: Page, seed: int | str, count: int = 16) -> None:
    """Wait until the images of a seed are shown and all controls are enabled."""
    images = "image" if count == 1 else "images"
    expect(page.locator("#status")).to_contain_text(f"{count} {images} of seed {seed},", timeout=READY_MILLISECONDS)
    expect(page.locator("#play")).to_be_enabled()


@contextmanager
def opened(site: str, size: tuple[int, int] = PROJECTOR, dark: bool = False, address: str = "") -> Iterator[Visit]:
    """Open the page and wait until it is ready; then check that it requested nothing else and reported no error."""
    with visit(site + address, size, dark) as found:
        expect(found.page.locator("#play")).to_be_enabled(timeout=READY_MILLISECONDS)
        yield found
        assert found.problems == []
        assert len(found.requests) >= 10
        assert [each for each in found.requests if not each.startswith(site)] == []


@pytest.fixture(params=[(PHONE, False), (PHONE, True), (PROJECTOR, False), (PROJECTOR, True)], ids=str)
def visited(site: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    with opened(site, *request.param) as found:
        yield found


def pixels(page: Page, canvases: str = "#grid canvas") -> NDArray[np.uint8]:
    """Return the pixels [n, h, w, 4] of the selected canvases."""
    files = [base64.b64decode(each.partition(",")[2]) for each in page.locator(canvases).evaluate_all(PIXELS)]
    return np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGBA")) for each in files])


def assert_same(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Check that images differ by at most one level, in at most one value of a thousand: the order of sums differs."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


def saved(page: Page, button: str) -> tuple[str, NDArray[np.uint8]]:
    """Click a button that saves a file, and return its name and pixels."""
    with page.expect_download() as download:
        page.locator(button).click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"
        return download.value.suggested_filename, np.asarray(picture)


def move(page: Page, slider: str, value: float) -> None:
    page.locator(slider).fill(str(value))


def test_it_draws_what_python_draws(visited: Visit, sampler: Sampler) -> None:
    wait_for(visited.page, 0)
    assert_same(pixels(visited.page)[..., :3], sampler.sample(16, seed=0))
    assert (pixels(visited.page)[..., 3] == 255).all()
    assert visited.page.locator("#provider").inner_text() == "your processor (WebAssembly)"
    assert not visited.page.locator("#problem").is_visible()
    assert not visited.page.locator("#loading").is_visible()


def test_a_seed_and_a_count_are_typed_and_stay_in_the_address(visited: Visit, sampler: Sampler) -> None:
    page, seed = visited.page, 12345678901234567890123
    page.locator("#seed").fill(f"00{seed}")
    page.keyboard.press("Enter")
    wait_for(page, seed)
    page.locator("#count").select_option("36")
    wait_for(page, seed, 36)
    assert_same(pixels(page)[..., :3], sampler.sample(36, seed=seed))
    assert page.url.endswith(f"#seed={seed}&count=36")
    assert f'Sampler("generator.onnx").sample(36, seed={seed})' in str(page.locator("pre").text_content())


def test_an_address_opens_the_same_images(site: str, sampler: Sampler) -> None:
    with opened(site, address="#seed=77&count=4") as found:
        wait_for(found.page, 77, 4)
        assert_same(pixels(found.page)[..., :3], sampler.sample(4, seed=77))


def test_new_images_are_those_of_another_seed(visited: Visit, sampler: Sampler) -> None:
    page, before = visited.page, pixels(visited.page)
    page.locator("#new").click()
    expect(page.locator("#status")).to_contain_text("each")
    seed = int(page.locator("#seed").input_value())
    wait_for(page, seed)
    assert seed != 0
    assert (pixels(page) != before).any()
    assert_same(pixels(page)[..., :3], sampler.sample(16, seed=seed))


def test_what_is_no_seed_draws_nothing(site: str) -> None:
    with opened(site) as found:
        before = pixels(found.page)
        for text in ("-1", "1.5", "cat", ""):
            found.page.locator("#seed").fill(text)
            found.page.keyboard.press("Enter")
            assert found.page.locator("#seed:invalid").count() == 1
        assert (pixels(found.page) == before).all()
        assert "seed 0" in found.page.locator("#status").inner_text()


def test_the_grid_is_saved_pixel_for_pixel(visited: Visit, sampler: Sampler) -> None:
    name, picture = saved(visited.page, "#save-grid")
    assert name == "seed-0.png"
    assert (picture == enlarged(grid(pixels(visited.page)[..., :3]))).all()
    assert_same(picture, enlarged(grid(sampler.sample(16, seed=0))))


def turned(z: NDArray[np.float32], a: float, b: float) -> NDArray[np.float32]:
    """z [1, latent_dim] after a and b quarter turns towards the page's two directions."""
    first, second = latents(2, z.shape[1], "normal", DIRECTIONS_SEED).astype(np.float64)
    after = np.cos(a * np.pi / 2) * z + np.sin(a * np.pi / 2) * first
    return np.asarray(np.cos(b * np.pi / 2) * after + np.sin(b * np.pi / 2) * second, np.float32)


def test_two_sliders_change_the_chosen_image(visited: Visit, sampler: Sampler) -> None:
    page = visited.page
    page.locator("#grid label").nth(5).click()
    expect(page.locator("#explored-name")).to_have_text("Image 6 of seed 0")
    assert (pixels(page, "#explored")[0] == pixels(page)[5]).all()
    z = sampler.latents(16, seed=0)[5:6]
    for a, b in ((30, 0), (30, -60), (-100, 100)):
        before = pixels(page, "#explored")
        move(page, "#a", a)
        move(page, "#b", b)
        expect(page.locator("#b-shown")).to_have_text(str(b))
        name, picture = saved(page, "#save-one")
        assert name == "seed-0-image-6.png"
        assert (picture == pixels(page, "#explored")[0, ..., :3]).all()
        assert_same(picture[None], sampler.images(turned(z, a / 100, b / 100)))
        assert (np.abs(pixels(page, "#explored").astype(int) - before.astype(int)) > 16).mean() > 0.1
    page.locator("#reset").click()
    expect(page.locator("#a-shown")).to_have_text("0")
    assert (pixels(page, "#explored")[0] == pixels(page)[5]).all()


def test_between_two_seeds_is_the_way_that_python_goes(visited: Visit, sampler: Sampler) -> None:
    page = visited.page
    page.locator("#from").fill("3")
    page.locator("#to").fill("4")
    page.keyboard.press("Enter")
    start, end = (sampler.latents(1, seed)[0] for seed in (3, 4))
    for share in (0, 25, 60, 100):
        move(page, "#share", share)
        expect(page.locator("#share-shown")).to_have_text(f"{share} %")
        name, picture = saved(page, "#save-between")
        assert name == f"seed-3-to-4-at-{share}.png"
        z = interpolate(start, end, share / 100, "normal").astype(np.float32)
        assert_same(picture[None], sampler.images(z[None]))
    assert_same(picture[None], sampler.sample(1, seed=4))


def test_it_plays_until_it_is_stopped(visited: Visit) -> None:
    page, play = visited.page, visited.page.get_by_role("button", name="Play")
    before = pixels(page, "#blended")
    play.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#play")).to_have_text("Stop")
    expect(page.locator("#share-shown")).not_to_have_text("0 %")
    page.keyboard.press("Enter")
    expect(page.locator("#play")).to_have_text("Play")
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(100)
    stopped = pixels(page, "#blended")
    assert (stopped != before).any()
    page.wait_for_timeout(300)
    assert (pixels(page, "#blended") == stopped).all()


def test_every_control_is_reached_and_used_by_keyboard(visited: Visit) -> None:
    page, reached = visited.page, [""]
    while reached[-1] != "SUMMARY" and len(reached) < 30:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "INPUT":
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowRight")
            expect(page.locator("#explored-name")).to_have_text("Image 3 of seed 0")
        if reached[-1] == "a":
            page.keyboard.press("ArrowRight")
            expect(page.locator("#a-shown")).to_have_text("1")
    order = "new seed count save-grid INPUT a b reset save-one from to share play save-between SUMMARY"
    assert reached[1:] == order.split()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.locator("#play").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(outline) == "solid"


def test_every_slider_has_its_name(visited: Visit) -> None:
    named = {"Direction A": "a", "Direction B": "b", "Position": "share"}
    assert {name: visited.page.get_by_role("slider", name=name).get_attribute("id") for name in named} == named


def test_it_is_as_wide_as_the_window_and_fingers_hit_it(visited: Visit) -> None:
    page = visited.page
    for count in ("1", "64"):
        page.locator("#count").select_option(count)
        wait_for(page, 0, int(count))
        page.locator("details").evaluate("(each) => { each.open = true; }")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        controls = page.locator("button, input, select, summary, #grid label").all()
        boxes = [box for each in controls if (box := each.bounding_box())]
        assert len(boxes) >= 15 + int(count)
        assert min(min(box["width"], box["height"]) for box in boxes) >= 43.99
        assert max(box["x"] + box["width"] for box in boxes) <= page.evaluate("innerWidth")


def test_words_stand_out_from_what_is_behind_them(visited: Visit) -> None:
    colours = visited.page.evaluate(
        """["p.lead", "#status", "dd", "#new", "#save-grid", "summary", ".card .slider span"].map((where) => {
            const each = document.querySelector(where);
            let behind = each;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [getComputedStyle(each).color, getComputedStyle(behind).backgroundColor];
        })"""
    )
    assert len(colours) == 7
    for ink, paper in colours:
        assert contrast(ink, paper) >= 4.5, (ink, paper)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours in the notation of browsers (WCAG 2, 1.4.3)."""

    def luminance(colour: str) -> float:
        levels = np.array([int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(", ")])
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_transparency_and_uniform_latents(write_page: Writer) -> None:
    folder = write_page(4, "uniform")
    sampler = Sampler(folder / "generator.onnx", provider="cpu", threads=1)
    with served(folder) as site, opened(site) as found:
        wait_for(found.page, 0)
        _, picture = saved(found.page, "#save-grid")
        assert_same(picture, enlarged(grid(sampler.sample(16, seed=0))))
        opaque = pixels(found.page)[..., 3]
        assert_same(opaque, sampler.sample(16, seed=0)[..., 3])
        assert opaque.std() > 10
        move(found.page, "#share", 50)
        expect(found.page.locator("#share-shown")).to_have_text("50 %")
        _, picture = saved(found.page, "#save-between")
        z = (sampler.latents(1, 1) + sampler.latents(1, 2)) / np.float32(2)
        assert_same(picture[None], sampler.images(z))


NAMES = ("surface", "850 hPa", "500 hPa", "humidity", "vorticity")
WEATHER = Levels("float32", (250.0, 250.0, 250.0, 0.0, -1e-3), (320.0, 320.0, 320.0, 1.0, 1e-3))
SCANS = Levels("uint16", (1000.0,), (4317.0,))


@pytest.fixture(scope="module")
def weather(write_page: Writer) -> Path:
    """Return the page of a generator of five channels, the first three of which have the same levels."""
    return write_page(5, levels=WEATHER, channel_names=NAMES, unit="K", size=ImageSize(24, 40))


def expected_pictures(values: NDArray[Any], channels: list[int], low: list[float], high: list[float]) -> NDArray[Any]:
    """Return RGBA pictures of values [n, h, w, c] in which `low` is 0 and `high` 255, one or three channels."""
    window = np.array(high) - np.array(low)
    scaled = np.rint(((values[..., channels].astype(np.float64) - low) * 255 / window).clip(0, 255)).astype(np.uint8)
    colours = np.broadcast_to(scaled, (*scaled.shape[:3], 3))
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=-1)


@pytest.mark.parametrize("size", [PHONE, PROJECTOR], ids=str)
def test_a_channel_and_the_values_to_show_are_chosen(size: tuple[int, int], weather: Path) -> None:
    values = Sampler(weather / "generator.onnx", provider="cpu", threads=1).sample(16, seed=0)
    with served(weather) as site, opened(site, size) as found:
        page = found.page
        wait_for(page, 0)
        channels = page.get_by_role("combobox", name="Channels")
        low, high = (page.get_by_role("slider", name=name) for name in ("Darkest at", "Brightest at"))
        assert channels.locator("option").all_inner_texts() == ["1–3 as colours", *NAMES]
        assert (low.get_attribute("aria-valuetext"), page.locator("#high-shown").inner_text()) == ("250.0 K", "320.0 K")
        assert_same(pixels(page), expected_pictures(values, [0, 1, 2], [250] * 3, [320] * 3))
        low.fill("280.5")
        high.fill("290")
        assert_same(pixels(page), expected_pictures(values, [0, 1, 2], [280.5] * 3, [290] * 3))

        channels.select_option(label="humidity")
        assert (page.locator("#low-shown").inner_text(), page.locator("#high-shown").inner_text()) == (
            "0.00 K",
            "1.00 K",
        )
        assert_same(pixels(page), expected_pictures(values, [3], [0], [1]))
        low.fill("0.25")
        high.fill("0.5")
        shown = expected_pictures(values, [3], [0.25], [0.5])
        assert_same(pixels(page), shown)
        assert_same(pixels(page, "#explored"), shown[:1])
        _, picture = saved(page, "#save-grid")
        assert_same(picture[..., None], enlarged(grid(shown[..., :1])))
        name, picture = saved(page, "#save-one")
        assert (name, picture.shape) == ("seed-0-image-1.png", (24, 40))
        between = Sampler(weather / "generator.onnx", provider="cpu", threads=1).sample(1, seed=1)
        assert_same(pixels(page, "#blended"), expected_pictures(between, [3], [0.25], [0.5]))

        page.locator("#new").click()
        expect(page.locator("#status")).to_contain_text("each")
        seed = int(page.locator("#seed").input_value())
        wait_for(page, seed)
        others = Sampler(weather / "generator.onnx", provider="cpu", threads=1).sample(16, seed=seed)
        assert_same(pixels(page), expected_pictures(others, [3], [0.25], [0.5]))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = [each.bounding_box() for each in (channels, low, high)]
        assert min(min(box["width"], box["height"]) for box in boxes if box) >= 43.99


def test_a_slider_takes_the_other_one_along(weather: Path) -> None:
    with served(weather) as site, opened(site) as found:
        page = found.page
        page.locator("#channels").select_option(label="vorticity")
        page.locator("#high").fill("-0.0005")
        page.locator("#low").fill("0.0002")
        assert page.locator("#high").input_value() == page.locator("#low").input_value() == "0.0002"
        assert page.locator("#high-shown").inner_text() == "0.00020 K"
        assert set(np.unique(pixels(page)[..., 0])) <= {0, 255}
        page.locator("#high").fill("-0.0005")
        assert page.locator("#low").input_value() == "-0.0005"


def test_channels_of_other_levels_are_shown_in_percent_of_each(write_page: Writer) -> None:
    levels = Levels("uint16", (0.0, 10.0, 100.0, 0.0), (5000.0, 60_000.0, 900.0, 9.0))
    folder = write_page(4, levels=levels)
    values = Sampler(folder / "generator.onnx", provider="cpu", threads=1).sample(16, seed=0)
    with served(folder) as site, opened(site) as found:
        page = found.page
        wait_for(page, 0)
        options = ["1–4 as colours and opacity", "1–3 as colours", *(f"Channel {number}" for number in range(1, 5))]
        assert page.locator("#channels option").all_inner_texts() == options
        page.locator("#channels").select_option(label="1–3 as colours")
        page.locator("#low").fill("20")
        page.locator("#high").fill("60")
        assert page.locator("#high-shown").inner_text() == "60 %"
        expected = expected_pictures(values, [0, 1, 2], [1000, 12_008, 260], [3000, 36_004, 580])
        assert_same(pixels(page), expected)


def test_one_channel_of_16_bits_has_sliders_only(write_page: Writer) -> None:
    folder = write_page(1, levels=SCANS)
    values = Sampler(folder / "generator.onnx", provider="cpu", threads=1).sample(16, seed=0)
    with served(folder) as site, opened(site) as found:
        wait_for(found.page, 0)
        assert not found.page.locator("#channels").is_visible()
        assert found.page.locator("#high-shown").inner_text() == "4,317"
        assert_same(pixels(found.page), expected_pictures(values, [0], [1000], [4317]))
        found.page.locator("#high").fill("2501")
        assert_same(pixels(found.page), expected_pictures(values, [0], [1000], [2501]))


def test_pictures_of_8_bits_have_no_such_controls(visited: Visit) -> None:
    assert visited.page.locator("#display, #channels, #low, #high").count() == 0


@pytest.fixture(params=[1, 2, 16])
def page_of_points(request: pytest.FixtureRequest, cache: Path, tmp_path: Path) -> Path:
    """Write the page of an untrained generator of points."""
    ckpt = write_generator(tmp_path, point_spec(request.param), "p.npy")
    export_web({"ckpt": str(ckpt), "out": str(tmp_path / "site" / "page"), "cache_dir": str(cache)})
    return tmp_path / "site" / "page"


def test_points_are_drawn_and_saved_as_python_draws_them(page_of_points: Path) -> None:
    sampler = Sampler(page_of_points / "generator.onnx")
    with served(page_of_points.parent) as server, visit(f"{server}page/", PROJECTOR) as found:
        page = found.page
        expect(page.locator("#save")).to_be_enabled(timeout=READY_MILLISECONDS)
        page.locator("#seed").fill("7")
        page.locator("#count").select_option("500")
        expect(page.locator("#status")).to_have_text("500 points of seed 7")
        expected = sampler.sample(500, seed=7)
        with page.expect_download() as download:
            page.locator("#save").click()
        assert download.value.suggested_filename == "seed-7.csv"
        saved_points = np.loadtxt(download.value.path(), delimiter=",", ndmin=2)
        np.testing.assert_allclose(saved_points, expected, rtol=1e-4, atol=1e-5)
        words = page.locator("#shown").inner_text()
        drawn = pixels(page, "#plot")[0, :, :, 3] > 0
        assert found.problems == []
    inner = slice(40, 760)
    if sampler.channels == 1:
        assert words.startswith("Histogram of the values, ")
        counts = np.histogram(expected[:, 0], 50)[0]
        heights = drawn[inner, inner].sum(axis=0).reshape(-1, 72).max(axis=1)  # of ten bars 5 times 14.4 pixels wide
        assert heights.max() == pytest.approx(720, abs=2)
        assert np.corrcoef(heights, counts.reshape(-1, 5).max(axis=1))[0, 1] > 0.99
    else:
        assert words.startswith("Dimension 1 to the right, " if sampler.channels == 2 else "Dimension 1 of 16 to the ")
        low, high = expected[:, :2].min(axis=0), expected[:, :2].max(axis=0)
        places = 40 + (expected[:, :2] - low) / (high - low) * 720
        columns, rows = np.rint(places[:, 0]).astype(int), np.rint(800 - places[:, 1]).astype(int)
        assert drawn[rows, columns].mean() > 0.99
        assert drawn.sum() <= 50 * len(expected)  # discs of a radius of three pixels, and nothing else


@pytest.mark.parametrize("size", [PHONE, PROJECTOR], ids=str)
def test_a_class_is_chosen(size: tuple[int, int], write_page: Writer) -> None:
    folder = write_page(classes=len(CLASSES))
    sampler = Sampler(folder / "generator.onnx", provider="cpu", threads=1)
    drawn = sampler.labels(16)
    assert drawn is not None
    with served(folder) as site, opened(site, size) as found:
        page = found.page
        wait_for(page, 0)
        select = page.get_by_role("combobox", name="Class")
        assert select.locator("option").all_inner_texts() == ["as in the training data", *CLASSES]
        assert_same(pixels(page)[..., :3], sampler.sample(16, seed=0))
        assert page.url.endswith("#seed=0&count=16")
        names = [f"Image {number + 1} of 16: {CLASSES[drawn[number]]}" for number in range(16)]
        assert [each.get_attribute("aria-label") for each in page.get_by_role("radio").all()] == names

        select.select_option(label="3")  # a name that is not the number of its class
        expect(page.locator("#explored-name")).to_have_text("Image 1 of seed 0: 3")
        assert_same(pixels(page)[..., :3], sampler.sample(16, seed=0, label="3"))
        assert page.url.endswith("#seed=0&count=16&label=3")
        assert 'sample(16, seed=0, label="3")' in str(page.locator("pre").text_content())
        expect(page.locator("#play")).to_be_enabled()
        page.get_by_role("radio").nth(5).check()
        move(page, "#a", 50)
        expect(page.locator("#a-shown")).to_have_text("50")
        _, picture = saved(page, "#save-one")
        assert_same(picture[None], sampler.images(turned(sampler.latents(16)[5:6], 0.5, 0.0), "3"))
        move(page, "#share", 100)
        expect(page.locator("#share-shown")).to_have_text("100 %")
        _, picture = saved(page, "#save-between")
        assert_same(picture[None], sampler.sample(1, seed=2, label="3"))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = select.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 43.99


def test_an_address_opens_images_of_a_class(write_page: Writer) -> None:
    folder = write_page(classes=len(CLASSES))
    sampler = Sampler(folder / "generator.onnx", provider="cpu", threads=1)
    address = f"#{urlencode({'seed': 5, 'count': 4, 'label': CLASSES[3]})}"
    with served(folder) as site, opened(site, address=address) as found:
        wait_for(found.page, 5, 4)
        assert_same(pixels(found.page)[..., :3], sampler.sample(4, seed=5, label=3))
        assert found.page.url.endswith(address)


def test_pages_without_classes_have_no_such_control(visited: Visit) -> None:
    assert visited.page.locator("#label").count() == 0


@contextmanager
def opened_slowly(site: str) -> Iterator[Page]:
    """Open the page with each batch of images 0.4 s slower; check at the end that it reported no error."""
    with visit("about:blank", PROJECTOR) as found:
        found.page.add_init_script(SLOW)
        found.page.goto(site)
        yield found.page
        assert not found.page.locator("#problem").is_visible()
        assert found.problems == []


@pytest.mark.parametrize("first", ["#a", "#save-grid", "#save-between", "an image"])
def test_the_first_touch_may_come_as_soon_as_it_is_allowed(first: str, site: str) -> None:
    with opened_slowly(site) as page:
        if first == "#a":
            move(page, "#a", 30)
        elif first == "an image":
            expect(page.get_by_role("radio").nth(2)).to_be_enabled(timeout=READY_MILLISECONDS)
            page.locator("#grid label").nth(2).click()
        else:
            page.locator(first).click()
        wait_for(page, 0)
        expect(page.locator("#explored-name")).to_contain_text("of seed 0")


def test_images_that_are_not_drawn_yet_cannot_be_chosen(site: str) -> None:
    with opened_slowly(site) as page:
        wait_for(page, 0)
        page.evaluate(
            """() => {
                const count = document.getElementById("count");
                count.value = 36;
                count.dispatchEvent(new Event("change"));
                document.querySelectorAll("#grid input")[30].click();
            }"""
        )
        assert page.locator("#explored-name").inner_text() == "Image 1 of seed 0"
        wait_for(page, 0, 36)
        page.locator("#grid label").nth(30).click()
        expect(page.locator("#explored-name")).to_have_text("Image 31 of seed 0")


def test_a_seed_typed_and_taken_back_does_not_end_the_drawing(site: str) -> None:
    with opened_slowly(site) as page:
        page.locator("#new").click()
        seed = page.locator("#seed").input_value()
        page.locator("#seed").press("End")
        page.keyboard.type("5")
        expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true", timeout=READY_MILLISECONDS)
        page.keyboard.press("Backspace")
        page.keyboard.press("Tab")
        wait_for(page, seed)


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.wasm could not be loaded"),
        ("generator.onnx", "generator.onnx could not be loaded"),
        ("ort.wasm.min.js", "The error:"),
        ("worker.js", "could not be loaded"),
        ("page.js", "could not be loaded"),
    ],
)
def test_people_are_told_when_it_cannot_start(blocked: str, words: str, site: str) -> None:
    with visit("about:blank", PHONE) as found:
        page = found.page
        page.context.route(f"**/{blocked}", lambda route: route.abort())
        page.goto(site)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("This page cannot generate images here.", timeout=READY_MILLISECONDS)
        assert words in page.locator("#problem-words").inner_text()
        assert not page.locator("#loading").is_visible()
        assert page.locator("main :enabled").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_from_the_disk_it_says_how_to_serve_it(page_folder: Path) -> None:
    with visit((page_folder / "index.html").as_uri(), PHONE) as found:
        expect(found.page.get_by_role("alert")).to_contain_text("python -m http.server")


def test_without_scripts_it_says_that_it_needs_them(site: str) -> None:
    with visit(site, PHONE, scripts=False) as found:
        assert "needs JavaScript" in found.page.locator("noscript").inner_text()


@pytest.fixture
def page_for_software(page_folder: Path, tmp_path: Path) -> Path:
    """Return a page that accepts a software renderer as a graphics card."""
    shutil.copytree(page_folder, tmp_path / "page")
    edit(tmp_path / "page", "isFallbackAdapter", "isNoSuchThing")
    return tmp_path / "page"


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "worker.js").read_text()
    assert old in text
    (folder / "worker.js").write_text(text.replace(old, new))


def drawn_on(folder: Path, sampler: Sampler) -> str:
    """Open the page with WebGPU, check its images, and return the name of the provider."""
    with served(folder) as site, visit(site, PROJECTOR, flags=SOFTWARE_GPU) as found:
        wait_for(found.page, 0)
        assert_same(pixels(found.page)[..., :3], sampler.sample(16, seed=0))
        return found.page.locator("#provider").inner_text()


def test_a_graphics_card_draws_the_same(page_for_software: Path, sampler: Sampler) -> None:
    assert drawn_on(page_for_software, sampler) == "your graphics card (WebGPU)"


def test_one_that_draws_otherwise_or_not_at_all_is_left_alone(page_for_software: Path, sampler: Sampler) -> None:
    edit(page_for_software, "CHECKED_LEVELS = 2", "CHECKED_LEVELS = -1")
    assert drawn_on(page_for_software, sampler) == "your processor (WebAssembly)"
    (page_for_software / "ort-wasm-simd-threaded.asyncify.wasm").unlink()
    assert drawn_on(page_for_software, sampler) == "your processor (WebAssembly)"


def test_software_is_no_graphics_card(page_folder: Path, sampler: Sampler) -> None:
    assert drawn_on(page_folder, sampler) == "your processor (WebAssembly)"
