"""The page in a real Chromium: what it finds is what Python finds, from files, video and a camera."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import resize_picture
from ghostyolo.errors import ExportError
from ghostyolo.export.formats import Elsewhere
from ghostyolo.export.parity import compare_elsewhere
from ghostyolo.export.web import NETWORK
from ghostyolo.export.web.browser import detect_with_page, find_browser
from ghostyolo.export.web.folder import write_page
from ghostyolo.export.web.runtime_files import fetch_runtime
from ghostyolo.export.web.server import PageServer
from ghostyolo.runtime.predictor import Predictor, load
from ghostyolo.runtime.weights import assets_folder

pytestmark = pytest.mark.slow
PICTURE = assets_folder() / "pictures" / "digits-1.jpg"
PATIENCE = 120_000  # milliseconds
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def program() -> str:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return program


@pytest.fixture(scope="module")
def runtime():
    try:
        return fetch_runtime()
    except ExportError as error:
        pytest.skip(f"ONNX Runtime Web is not in the cache: {error}")


@pytest.fixture(scope="module")
def digits() -> Predictor:
    return load("digits", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, runtime, digits):
    folder = tmp_path_factory.mktemp("page") / "digits_web"
    make_page(folder, runtime, digits.metadata)
    return folder


def make_page(folder, runtime, metadata) -> None:
    folder.mkdir()
    shutil.copy(assets_folder() / "digits.onnx", folder / NETWORK)
    write_page(folder, metadata, runtime, PICTURE)


@pytest.fixture(scope="module")
def browser(program):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=CAMERA)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, folder):
    """The page, loaded and ready; it asks for nothing from elsewhere and complains of nothing."""
    server = PageServer(folder)
    server.start()
    context = browser.new_context(permissions=["camera"])
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(server.url)
    page.wait_for_selector("#open:enabled", timeout=PATIENCE)
    yield page
    context.close()
    server.stop()
    assert wrong == []
    assert [url for url in asked if not url.startswith((server.url, "blob:", "data:"))] == []


def saved_results(page) -> dict:
    with page.expect_download() as download:
        page.click("#download")
    (record,) = json.loads(download.value.path().read_text(encoding="utf-8"))
    return record


def assert_same_objects(found: list[dict], expected: list[dict]) -> None:
    """In any order, since two objects may score nearly the same."""
    assert len(found) == len(expected)
    for one in expected:
        assert any(
            other["class"] == one["class"]
            and np.abs(np.subtract(other["box_xyxy"], one["box_xyxy"])).max() <= 1
            and abs(other["score"] - one["score"]) <= 0.01
            for other in found
        ), (one, found)


@pytest.mark.parametrize("resize", ["bilinear", "area"])
def test_pictures_of_all_shapes_give_python_s_boxes(tmp_path, program, runtime, resize):
    predictor = load("digits", threads=1)
    predictor.engine.metadata = predictor.metadata.model_copy(update={"resize": resize})
    make_page(tmp_path / "page_web", runtime, predictor.metadata)
    whole = read_image(PICTURE)
    large = cv2.resize(whole, (1111, 900), interpolation=cv2.INTER_CUBIC)
    pictures = [whole, large, np.ascontiguousarray(whole[:, 300:470]), np.ascontiguousarray(whole[200:380, 60:200])]
    failures, line = compare_elsewhere(
        Elsewhere("a browser", detect_with_page), tmp_path / "page_web", predictor, pictures
    )
    assert failures == [], line
    assert int(line.split()[3]) > 10


def test_pictures_are_resized_as_in_python(page):
    random = np.random.default_rng(0)
    sizes = [
        ((40, 60), (20, 30)),
        ((37, 53), (16, 23)),
        ((20, 31), (40, 62)),
        ((9, 200), (3, 64)),
        ((50, 50), (50, 49)),
    ]
    for (height, width), (new_height, new_width) in sizes:
        picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for how in ("area", "bilinear"):
            resized = page.evaluate(
                """async ([pixels, width, height, newWidth, newHeight, how]) => {
                    const { resize } = await import("./letterbox.js");
                    return Array.from(resize(Uint8Array.from(pixels), width, height, 3, 3, newWidth, newHeight, how));
                }""",
                [picture.ravel().tolist(), width, height, new_width, new_height, how],
            )
            expected = resize_picture(picture, new_width, new_height, how).ravel().astype(int)
            assert np.abs(np.array(resized) - expected).max() <= (how == "area"), (picture.shape, how)


def test_a_file_gives_python_s_results_as_json(page, digits):
    page.set_input_files("#file", str(PICTURE))
    page.wait_for_selector("#download:enabled", timeout=PATIENCE)
    record = saved_results(page)
    expected = digits(PICTURE)[0].to_dict()
    assert (record["image"], record["width"], record["height"]) == (PICTURE.name, expected["width"], expected["height"])
    assert_same_objects(record["objects"], expected["objects"])
    assert page.inner_text("#count") == str(len(expected["objects"]))
    assert float(page.inner_text("#milliseconds")) > 0


def test_confidence_and_classes_are_chosen_by_keyboard(page, digits):
    page.set_input_files("#file", str(PICTURE))
    page.wait_for_selector("#download:enabled", timeout=PATIENCE)
    page.focus("#threshold")
    page.keyboard.press("End")
    assert page.inner_text("#threshold-value") == "95 %"
    assert_same_objects(saved_results(page)["objects"], digits(PICTURE, confidence=0.95)[0].to_dict()["objects"])
    page.keyboard.press("Home")
    page.focus("#none")
    page.keyboard.press("Enter")
    assert page.inner_text("#count") == "0"
    page.get_by_label("4", exact=True).focus()
    page.keyboard.press("Space")
    fours = digits(PICTURE, confidence=0.05, classes="4")[0].to_dict()["objects"]
    assert len(fours) > 0
    assert_same_objects(saved_results(page)["objects"], fours)


def test_a_file_that_is_no_picture_is_one_clear_line(page, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    page.set_input_files("#file", str(tmp_path / "notes.txt"))
    page.wait_for_selector("#message.wrong", timeout=PATIENCE)
    assert page.inner_text("#message") == "notes.txt is no picture or video that this browser can read."


def test_the_camera_is_watched_until_it_is_stopped(page):
    page.click("#camera")
    page.wait_for_selector("#download:enabled", timeout=PATIENCE)
    record = saved_results(page)
    assert record["image"] == "camera"
    assert record["width"] >= 320
    page.keyboard.press("Escape")
    assert page.is_hidden("#stop")


def test_a_video_is_watched(page, tmp_path):
    """It is recorded by the browser itself, in a format that it can play."""
    recorded = page.evaluate(
        """async (url) => {
            const picture = await createImageBitmap(await (await fetch(url)).blob());
            const { width, height } = picture;
            const canvas = Object.assign(document.createElement("canvas"), { width, height });
            const context = canvas.getContext("2d");
            const recorder = new MediaRecorder(canvas.captureStream(10), { mimeType: "video/webm" });
            const parts = [];
            recorder.ondataavailable = ({ data }) => parts.push(data);
            const ended = new Promise((resolve) => { recorder.onstop = resolve; });
            recorder.start();
            for (let i = 0; i < 10; i++) {
                context.drawImage(picture, 0, 0);
                await new Promise((resolve) => setTimeout(resolve, 100));
            }
            recorder.stop();
            await ended;
            return Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()));
        }""",
        "example.jpg",
    )
    (tmp_path / "clip.webm").write_bytes(bytes(recorded))
    page.set_input_files("#file", str(tmp_path / "clip.webm"))
    page.wait_for_selector("#download:enabled", timeout=PATIENCE)
    record = saved_results(page)
    assert record["image"] == "clip.webm"
    assert "seconds" in record
    assert page.is_visible("#play")


def test_without_the_headers_there_is_one_thread(browser, folder):
    server = PageServer(folder, isolated=False)
    server.start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#open:enabled", timeout=PATIENCE)
    assert page.inner_text("#engine") == "WebAssembly, 1 thread"
    assert "COOP and COEP" in page.get_attribute("#engine", "title")
    context.close()
    server.stop()


def test_it_fits_the_width_of_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
