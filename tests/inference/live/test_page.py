"""The live page: pictures, figures, a slider, and whom it answers."""

import http.client
import json
import time

import cv2
import numpy as np
import pytest

from dff.inference.live.figures import Figures
from dff.inference.live.server import REQUESTS, LivePage, is_loopback


@pytest.fixture
def page():
    asked = []
    page = LivePage("127.0.0.1", 0, ["a"], lambda: {"sources": []}, asked.append)
    page.asked = asked
    yield page
    page.close()


def ask(page, path="/", method="GET", body=None, headers=None, host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, page.port, timeout=10)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_its_figures(page):
    status, body = ask(page)
    assert status == 200 and b"Key duration" in body and b"http" not in body.split(b"<script>")[0]
    assert ask(page, "/figures") == (200, b'{"sources": []}')


def test_pictures_come_as_they_change(page):
    page.show(0, np.full((48, 64, 3), 200, np.uint8))
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request("GET", "/stream?source=0")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
    for grey in (200, 90):
        if grey == 90:
            page.show(0, np.full((48, 64, 3), 90, np.uint8))
        head = [answer.readline() for _ in range(4)]
        length = int(head[2].partition(b":")[2])
        data = answer.read(length + 2)[:-2]
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (48, 64, 3) and abs(int(picture.mean()) - grey) < 3
    connection.close()


def test_a_still_picture_for_sources_beyond_the_connections_of_a_browser(page):
    assert ask(page, "/still?source=0")[0] == 503 and ask(page, "/still?source=1")[0] == 404
    page.show(0, np.full((48, 64, 3), 200, np.uint8))
    status, data = ask(page, "/still?source=0")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert status == 200 and picture.shape == (48, 64, 3)


def test_the_slider_sets_the_key_duration(page):
    assert ask(page, "/key_duration", "POST", "7")[0] == 200 and page.asked == [7]
    for wrong in ("0", "1001", "x", "-3", "7; rm"):
        assert ask(page, "/key_duration", "POST", wrong)[0] == 400
    assert ask(page, "/key_duration", "POST", "1" * 500)[0] == 413
    other = {"Origin": "http://elsewhere.example"}
    assert ask(page, "/key_duration", "POST", "9", other)[0] == 403
    assert page.asked == [7]


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/etc/passwd", "/%2e%2e/x", "/stream?source=9"]
)
def test_no_path_is_ever_opened(page, path):
    assert ask(page, path)[0] == 404


def test_a_page_of_another_name_does_not_reach_it(page):
    assert ask(page, headers={"Host": "evil.example"})[0] == 403
    assert ask(page, headers={"Host": f"localhost:{page.port}"})[0] == 200


def test_who_asks_too_often_waits(page):
    answers = [ask(page, "/figures")[0] for _ in range(REQUESTS + 20)]
    assert answers[0] == 200 and set(answers) <= {200, 429}
    page._asked["127.0.0.1"].extend([time.monotonic()] * REQUESTS)
    assert ask(page, "/figures")[0] == 429


def test_elsewhere_than_on_this_machine_it_wants_a_token():
    page = LivePage("0.0.0.0", 0, ["a"], lambda: {}, lambda duration: None)
    try:
        assert page.token and page.token in page.url and "0.0.0.0" not in page.url
        assert ask(page)[0] == 403 and ask(page, "/figures?token=wrong")[0] == 403
        assert ask(page, f"/?token={page.token}")[0] == 200
        assert ask(page, f"/key_duration?token={page.token}", "POST", "3")[0] == 200
    finally:
        page.close()


def test_which_addresses_are_this_machines_own():
    own = [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")]
    assert all(own)
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "example.org", "", "::")))


def test_figures_are_rates_latencies_and_key_frames():
    figures = Figures()
    assert figures.as_dict()["fps_out"] == 0.0
    for i in range(10):
        figures.count(0.01 * (i + 1), i % 5 == 0, 2 * i)
        time.sleep(0.002)
    found = figures.as_dict()
    assert found["keys"] == "1000010000" and found["frames"] == 10
    assert found["latency_max"] == 100.0 and found["latency_p50"] == 55.0
    assert found["fps_in"] == pytest.approx(2 * found["fps_out"], rel=0.01)
    json.dumps(found)


def test_a_port_that_cannot_be_had_is_told_in_one_sentence(page):
    def another(port, host="127.0.0.1"):
        LivePage(host, port, ["a"], dict, print)

    with pytest.raises(OSError, match=f"port {page.port} .Address already in use.: give another"):
        another(page.port)
    with pytest.raises(ValueError, match="port 80000: wanted one from 1 to 65535"):
        another(80000)
    with pytest.raises(OSError, match=r"no page at 192\.0\.2\.1, port 0"):
        another(0, "192.0.2.1")
