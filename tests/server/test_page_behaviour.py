"""The page in Chromium with a stand-in for the server; test_page.py has the real one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from pneumonia.images.decoding import decode
from pneumonia.inference.overlay import colour, overlay
from tests.conftest import SIZE, some_image
from tests.server.browser import Browser, needs_browser
from tests.server.stand_in import GRID, MODEL, SCALE, StandIn, refusal, standing_in

pytestmark = [pytest.mark.slow, needs_browser]
MakeImages = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing_in() as found:
        yield found


@pytest.fixture
def browser(chromium: Browser, server: StandIn) -> Iterator[Browser]:
    """The page, newly loaded; at the end its console must be empty."""
    server.reset()
    chromium.open(server.address)
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture
def images(tmp_path: Path) -> MakeImages:
    def make(*names: str) -> list[Path]:
        files = [tmp_path / name for name in names]
        for number, file in enumerate(files):
            file.write_bytes(b"hello" if file.suffix == ".txt" else some_image(number))
        return files

    return make


def probabilities(browser: Browser) -> dict[str, str]:
    """Probabilities in the table by name."""
    cells = zip(browser.texts("#rows .name"), browser.texts("#rows .number"), strict=True)
    return dict(cells)


def test_a_prediction_is_shown_in_words_and_figures(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.probabilities["a.png"] = 0.39876543
    server.warnings["a.png"] = [{"code": "inverted", "message": "black and white look swapped"}]
    browser.choose(*images("a.png"))
    assert browser.id("label").text == "NORMAL"
    assert browser.id("probability").get_attribute("value") == "0.39876543"
    assert browser.id("probability").text == "39.9\u202f%"
    assert "below the threshold of 40.0\u202f%" in browser.id("reading").text
    assert browser.texts("#warnings li") == ["Black and white look swapped."]
    assert "Not a medical device" in browser.id("prediction-notice").text
    assert browser.id("status").get_attribute("textContent") == (
        "a.png: NORMAL, probability of pneumonia 39.9\u202f%. 1 warning."
    )
    assert browser.id("map-words").text == "The map is strongest at the lower left of the image."


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (1.0, "100.0\u202f%"),
        (0.99999, ">\u202f99.9\u202f%"),
        (0.0, "0.0\u202f%"),
        (1e-5, "<\u202f0.1\u202f%"),
    ],
)
def test_no_probability_is_rounded_to_certainty(
    browser: Browser, server: StandIn, images: MakeImages, probability: float, shown: str
) -> None:
    server.probabilities["a.png"] = probability
    browser.choose(*images("a.png"))
    assert browser.id("probability").text == shown


def test_threshold_and_probability_are_at_their_positions_on_the_scale(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.probabilities["a.png"] = 0.75
    browser.choose(*images("a.png"))
    track, tick, pin = (browser.all(name)[0].rect for name in (".track", ".tick", ".pin"))
    for part, share in ((tick, 0.4), (pin, 0.75)):
        place = (part["x"] + part["width"] / 2 - track["x"]) / track["width"]
        assert place == pytest.approx(share, abs=0.01)


def test_the_slider_mixes_image_and_map_as_the_overlay_does(
    browser: Browser, images: MakeImages
) -> None:
    (file,) = images("a.png")
    browser.choose(file)
    image = decode(file.read_bytes(), SIZE).pixels
    for key, opacity in ((Keys.HOME, 0.0), (Keys.END, 1.0), (Keys.ARROW_LEFT, 0.95)):
        browser.id("opacity").send_keys(key)
        expected = overlay(image, GRID, SCALE, opacity).astype(int)
        # Premultiplied alpha in 8 bits, twice.
        assert np.abs(browser.drawn().astype(int) - expected).max() <= 3
    browser.id("map-on").click()
    assert (browser.drawn() == image[..., None]).all()
    assert not browser.id("opacity").is_enabled()


def test_the_native_grid_shows_one_colour_a_cell(browser: Browser, images: MakeImages) -> None:
    browser.choose(*images("a.png"))
    browser.id("opacity").send_keys(Keys.END)
    browser.all("#native summary")[0].send_keys(Keys.ENTER)
    assert browser.id("native-picture").is_displayed()
    assert browser.id("native-size").text == "4 \u00d7 4"
    side = SIZE // 4
    hottest = browser.drawn("native-picture")[-side:, :side]
    assert (hottest == colour(np.ones(1))[0]).all()


def test_an_image_is_enlarged_and_moved_by_keyboard(browser: Browser, images: MakeImages) -> None:
    browser.choose(*images("a.png"))
    window, picture = browser.id("window"), browser.id("picture")
    width = picture.rect["width"]
    window.send_keys("++")
    seen = browser.run("return arguments[0].clientWidth", window)  # less a scroll bar
    assert picture.rect["width"] == pytest.approx(2 * seen, rel=0.01)
    assert browser.id("zoom-value").text == "200\u202f%"
    before = browser.run("return arguments[0].scrollLeft", window)
    assert before > 0  # about the middle
    window.send_keys(Keys.ARROW_RIGHT)
    browser.wait(lambda: browser.run("return arguments[0].scrollLeft", window) > before)
    window.send_keys("0")
    assert picture.rect["width"] == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize(
    ("hot", "words"),
    [
        ([], "The map is nearly empty: the model found little evidence of pneumonia."),
        ([(1, 1)], "The map is strongest at the centre of the image."),
        ([(0, 0), (2, 1)], "The map is strongest at the upper left and the lower centre of the "
         "image."),
        ([(2, 2), (1, 0), (0, 1), (0, 0)], "The map is strongest at the lower right, the middle "
         "left, and the upper centre of the image."),
    ],
)  # fmt: skip
def test_where_the_map_is_strong_is_described(
    browser: Browser, hot: list[tuple[int, int]], words: str
) -> None:
    grid = np.full((3, 3), 0.01)
    for cell, value in zip(hot, (1.0, 0.95, 0.9, 0.85), strict=False):
        grid[cell] = value
    found = browser.module("map.js", "describeMap", {"grid": grid.tolist(), "scale": 1})
    assert found == words


@pytest.mark.parametrize(
    ("header", "attempt", "seconds"),
    [("3", 1, 3), ("0", 1, 0.1), ("900", 1, 30), (None, 3, 4), ("soon", 2, 2),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 1, 0.1)],
)  # fmt: skip
def test_the_wait_is_what_the_server_asks_for_within_reason(
    browser: Browser, header: str | None, attempt: int, seconds: float
) -> None:
    assert browser.module("send.js", "waitSeconds", header, attempt) == seconds


def test_images_go_in_requests_of_a_few_and_end_in_a_table(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    names = [f"{number}.png" for number in range(10)]
    server.probabilities = {name: int(name[0]) / 10 for name in names}
    browser.choose(*images(*names))
    assert sorted(name for request in server.requests for name in request) == names
    assert max(len(request) for request in server.requests) <= 4
    assert probabilities(browser) == {name: f"{int(name[0]) * 10}.0\u202f%" for name in names}
    assert browser.id("summary").text == "10 images, 6 PNEUMONIA, 4 NORMAL"


def test_headings_sort_the_table(browser: Browser, server: StandIn, images: MakeImages) -> None:
    server.probabilities = {"10.png": 0.2, "9.png": 0.9, "b.png": 0.5}
    browser.choose(*images("10.png", "9.png", "b.png", "notes.txt"))
    by_file, _, by_probability = browser.all("[data-sort]")
    by_probability.send_keys(Keys.ENTER)
    browser.next_frame()
    assert browser.texts("#rows .name") == ["9.png", "b.png", "10.png", "notes.txt"]
    heading = browser.all("th:nth-child(3)")[0]
    assert heading.get_attribute("aria-sort") == "descending"
    by_probability.click()
    browser.next_frame()
    assert browser.texts("#rows .name") == ["10.png", "b.png", "9.png", "notes.txt"]
    by_file.click()
    browser.next_frame()
    assert browser.texts("#rows .name") == ["9.png", "10.png", "b.png", "notes.txt"]
    assert heading.get_attribute("aria-sort") is None


def test_rows_open_their_images_by_keyboard(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.probabilities = {"a.png": 0.9, "b.png": 0.1}
    browser.choose(*images("a.png", "b.png", "notes.txt"))
    assert browser.id("image-name").text == "a.png"
    browser.all("#rows .name")[0].send_keys(Keys.ARROW_DOWN)
    browser.next_frame()
    assert browser.id("image-name").text == "b.png"
    assert browser.id("label").text == "NORMAL"
    assert browser.focused().text == "b.png"
    assert browser.focused().get_attribute("aria-current") == "true"
    browser.press(Keys.ARROW_DOWN)
    browser.next_frame()
    assert browser.id("problem-text").text == "Not an image: send another."
    assert not browser.id("prediction").is_displayed()


def test_on_a_phone_the_opened_image_gets_the_focus(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    browser.open(server.address, width=390)
    browser.choose(*images("a.png", "b.png"))
    browser.all("#rows .name")[1].send_keys(Keys.ENTER)
    assert browser.focused().get_attribute("id") == "image-name"
    browser.id("back").send_keys(Keys.ENTER)
    assert browser.focused().get_attribute("id") == "list-title"


def test_the_csv_file_is_complete_and_runs_nothing(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    hostile = ["=1+1.png", "+2.png", "-3.png", "@sum.png", 'a "b", c.png', "notes.txt"]
    server.probabilities["+2.png"] = 0.123456789
    server.warnings["-3.png"] = [{"code": code, "message": code} for code in ("small", "inverted")]
    browser.choose(*images(*hostile))
    table = {row["file"]: row for row in csv.DictReader(io.StringIO(browser.download()))}
    assert list(table) == [f"'{name}" if name[0] in "=+-@" else name for name in hostile]
    assert table["'+2.png"] == {
        "file": "'+2.png", "label": "NORMAL", "probability": "0.123456789", "threshold": "0.4",
        "warnings": "", "error": "", "model": MODEL["name"], "version": MODEL["version"],
        "sha256": MODEL["sha256"],
    }  # fmt: skip
    assert table["'-3.png"]["warnings"] == "small inverted"
    assert table["notes.txt"]["error"] == "Not an image: send another."
    assert table["notes.txt"]["probability"] == ""


def test_names_are_text(browser: Browser, images: MakeImages) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    browser.choose(*images(name, "b.png"))
    assert browser.id("image-name").text == name
    assert browser.texts("#rows .name") == [name, "b.png"]
    assert browser.all("#results img") == []


def test_a_busy_server_gets_the_request_again(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.refusals = [refusal(429, "busy", "0"), refusal(503, "busy", "0")]
    browser.choose(*images("a.png"))
    assert len(server.requests) == 3
    assert browser.id("label").text == "PNEUMONIA"


def test_a_refused_group_is_sent_in_parts(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.most = 1
    browser.choose(*images("a.png", "b.png", "c.png", "d.png"))
    assert browser.id("summary").text == "4 images, 4 PNEUMONIA, 0 NORMAL"


def test_a_refused_image_has_the_server_s_message(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.refusals = [refusal(413, "the body is over 5 bytes: send a smaller image")]
    browser.choose(*images("a.png"))
    assert browser.id("problem-text").text == "The body is over 5 bytes: send a smaller image."
    assert not browser.id("again").is_displayed()


def test_a_failed_image_can_be_tried_again(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.refusals = [(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})]
    browser.choose(*images("a.png"))
    assert browser.id("problem-text").text == "The server failed (502): try again later."
    browser.id("again").click()
    browser.settled()
    assert browser.id("label").text == "PNEUMONIA"
    assert not browser.id("again").is_displayed()


def test_no_response_is_an_error(browser: Browser, server: StandIn, images: MakeImages) -> None:
    # Chromium itself asks once more on a connection that was closed.
    server.refusals = [(0, b"", {})] * 2
    browser.choose(*images("a.png"))
    assert "the server cannot be reached" in browser.id("problem-text").text


def test_stop_keeps_predictions_and_tries_the_rest_again(
    browser: Browser, server: StandIn, images: MakeImages
) -> None:
    server.refusals = [refusal(429, "busy", "20")]
    browser.id("files").send_keys(str(images("a.png")[0]))
    browser.wait(lambda: "busy" in browser.id("progress-text").text)
    browser.id("stop").click()
    browser.settled()
    assert browser.id("problem-text").text == "Stopped before its prediction."
    browser.id("again").click()
    browser.settled()
    assert browser.id("label").text == "PNEUMONIA"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        ("new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})", "a.png"),
        ("new ClipboardEvent('paste', {clipboardData: data, bubbles: true})", "pasted 1: a.png"),
    ],
    ids=["dropped", "pasted"],
)
def test_images_are_dropped_and_pasted(browser: Browser, make: str, name: str) -> None:
    browser.run(
        "const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(arguments[0])], 'a.png'));"
        f"document.body.dispatchEvent({make})",
        list(some_image(0)),
    )
    browser.settled()
    assert browser.id("image-name").text == name
    assert browser.id("label").text == "PNEUMONIA"


def test_a_drawn_image_is_tried(browser: Browser, server: StandIn) -> None:
    browser.all("#sample-list button")[0].click()
    browser.settled()
    assert server.requests == [["normal-1.png"]]
    assert browser.id("image-name").text == "normal-1.png"


def test_clear_forgets_the_images(browser: Browser, images: MakeImages) -> None:
    browser.choose(*images("a.png", "b.png"))
    browser.id("clear").click()
    browser.next_frame()
    assert not browser.id("results").is_displayed()
    assert browser.focused().get_attribute("id") == "files"
    browser.choose(*images("c.png"))
    assert browser.id("image-name").text == "c.png"
    assert browser.all("#rows tr") != []


def test_the_first_stops_of_the_keyboard(browser: Browser) -> None:
    stops = []
    for _ in range(4):
        browser.press(Keys.TAB)
        stops.append(browser.focused().text or browser.focused().get_attribute("id"))
    assert stops == ["Skip to the images", "Model card", "REST API", "files"]
    label = browser.all("label[for=files]")[0]
    assert label.value_of_css_property("outline-style") == "solid"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_page_is_accessible_and_fits(
    browser: Browser, server: StandIn, images: MakeImages, width: int, dark: bool
) -> None:
    over = "return document.documentElement.scrollWidth - window.innerWidth"
    browser.open(server.address, width, dark)
    assert browser.axe() == []
    assert browser.run(over) <= 0
    server.warnings["a.png"] = [{"code": "small", "message": "small"}]
    browser.choose(*images("a.png", "notes.txt", f"{'long' * 30}.png"))
    browser.all("#native summary")[0].click()
    assert browser.axe() == []
    assert browser.run(over) <= 0
