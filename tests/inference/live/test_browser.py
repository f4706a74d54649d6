"""The live page in Chromium: pictures, figures, the slider, on a desktop and on a telephone."""

import shutil
import time

import numpy as np
import pytest
from sessions import wait_for

from dff.inference.live.server import LivePage

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install selenium")
DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    DRIVER is None or CHROMIUM is None, reason="no Chromium: apt install chromium chromium-driver"
)
SOURCES = 7
"""More than the connections that a browser opens to a server."""


@pytest.fixture
def page():
    state = {"key_duration": 5, "frames": 1}

    def figures():
        figure = {"said": "", "dropped": 0, "fps_in": 25.0, "fps_out": state["frames"]}
        late = dict.fromkeys(("latency_p50", "latency_p95", "latency_max"), 1.0)
        keys = {"keys": "10", "frames": state["frames"]}
        sources = [{"name": f"camera {i}", **figure, **late, **keys} for i in range(SOURCES)]
        return {"key_duration": state["key_duration"], "sources": sources}

    def set_key_duration(duration):
        state["key_duration"] = duration

    page = LivePage("127.0.0.1", 0, ["a"] * SOURCES, figures, set_key_duration)
    page.state = state
    show(page, 40)
    yield page
    page.close()


def show(page, grey):
    for source in range(SOURCES):
        page.show(source, np.full((90, 160, 3), grey, np.uint8))


@pytest.fixture(params=[(1280, 800), (390, 780)], ids=["desktop", "telephone"])
def browser(request):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    width, height = request.param
    metrics = {"width": width, "height": height, "pixelRatio": 1.0}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.page_load_strategy = "none"  # its pictures never end
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def greys(browser):
    """Of the middle of each picture."""
    return browser.execute_script(
        """return [...document.images].map(image => {
        const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
        canvas.width = canvas.height = 1;
        if (image.naturalWidth) pen.drawImage(image, 80, 45, 1, 1, 0, 0, 1, 1);
        return pen.getImageData(0, 0, 1, 1).data[0]; });"""
    )


def test_pictures_and_figures_change_and_the_slider_is_heard(page, browser):
    browser.get(page.url)
    for grey in (40, 200):
        show(page, grey)
        wait_for(lambda g=grey: [abs(v - g) < 4 for v in greys(browser)] == [True] * SOURCES)
    page.state["frames"] = 321
    wait_for(lambda: browser.find_element("css selector", "[data-key=fps_out]").text == "321")
    slider = browser.find_element("id", "slider")
    slider.send_keys(webdriver.Keys.ARROW_RIGHT)
    wait_for(lambda: page.state["key_duration"] == 6)
    across = slider.rect["width"]
    held = webdriver.ActionChains(browser).move_to_element(slider).click_and_hold()
    held.move_by_offset(across // 4, 0).release().perform()
    wait_for(lambda: page.state["key_duration"] > 15)
    time.sleep(1.5)  # the page has asked for figures since
    assert slider.get_attribute("value") == str(page.state["key_duration"])
    wide, shown = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= shown and shown <= 1280
    assert browser.get_log("browser") == []
