"""RTSP from a real server: killed, hanging, of another size, behind a password."""

import signal
import socket
import threading

import pytest
from rtsp import RtspServer, needs_server
from sessions import Kept, session_of, wait_for

from dff.inference.live import addresses
from dff.inference.live import source as live_source
from dff.inference.live.addresses import parse_address
from dff.inference.live.source import LiveSource

SECRET = "se:c/ret"

pytestmark = needs_server


@pytest.fixture
def serve():
    servers = []

    def serve(*words, port=0):
        servers.append(RtspServer(*words, port=port))
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()


@pytest.fixture
def watch():
    sources = []

    def watch(url):
        sources.append(LiveSource(parse_address(url)).start())
        return sources[-1]

    yield watch
    for source in sources:
        source.stop()


@pytest.fixture
def impatient(monkeypatch):
    for module in (addresses, live_source):
        monkeypatch.setattr(module, "READING", 1.0)
    monkeypatch.setattr(live_source, "OPENING", 1.0)
    monkeypatch.setattr(live_source, "PAUSES", (0.1,))


def test_frames_come_and_after_a_restart_those_of_another_size(serve, watch):
    server = serve()  # it answers over TCP alone
    source = watch(server.url())
    wait_for(lambda: source.decoded >= 10)
    assert source.take().picture.shape == (64, 96, 3)
    server.kill()
    wait_for(lambda: source.state == "lost")
    before = source.decoded
    serve("--width", "128", "--height", "80", port=server.port)
    wait_for(lambda: source.decoded > before)
    assert source.take().picture.shape == (80, 128, 3)


def test_two_sources_at_once_each_with_its_key_frames_and_one_killed_in_between(serve):
    servers = [serve(), serve("--width", "128")]
    kept = [Kept(), Kept()]
    sources = [LiveSource(parse_address(server.url())) for server in servers]
    session = session_of(sources, [[own] for own in kept], duration=1000)
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()
    wait_for(lambda: all(len(own.results) > 3 for own in kept))
    servers[0].kill()
    serve("--width", "128", port=servers[0].port)
    seen = [len(own.results) for own in kept]
    wait_for(lambda: all(len(k.results) > n + 3 for k, n in zip(kept, seen, strict=True)))
    session.ended.set()
    thread.join(20)
    assert [r.picture.shape[1] for r in kept[0].results if r.is_key] == [96, 128]
    assert [r.picture.shape[1] for r in kept[1].results if r.is_key] == [128]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stops_in_the_middle_counts_as_lost_and_may_go_on(serve, watch):
    server = serve()
    source = watch(server.url())
    wait_for(lambda: source.decoded >= 10)
    server.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: source.state == "lost")
    assert "nothing has come for" in source.said
    before = source.decoded
    server.process.send_signal(signal.SIGCONT)
    wait_for(lambda: source.decoded > before)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_accepts_and_says_nothing_counts_as_lost(watch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = watch(f"rtsp://127.0.0.1:{server.getsockname()[1]}/live")
        wait_for(lambda: source.state == "lost")
        assert "nothing has come for" in source.said


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_a_password_opens_the_stream_and_is_never_shown(serve, watch, scheme, capfd):
    server = serve("--scheme", scheme, "--user", "me", "--password", SECRET)
    source = watch(server.url(user="me:se%3Ac%2Fret"))
    wait_for(lambda: source.decoded >= 3)
    wrong = watch(server.url(user="me:wrong-one"))
    wait_for(lambda: wrong.state == "lost")
    assert "401 Unauthorized" in wrong.said
    server.kill()
    wait_for(lambda: source.state == "lost")
    session = session_of([source, wrong], [[], []])
    session._say(0), session._say(1)
    shown = [repr(session.figures()), *capfd.readouterr(), repr(source.address)]
    assert "127.0.0.1" in shown[0] and "it is opened again" in shown[2]
    for words in shown:
        assert not any(secret in words for secret in ("c/ret", "c%2Fret", "wrong-one"))
