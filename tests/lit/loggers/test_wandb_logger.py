"""A run does not wait for a server of W&B that cannot be used."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import wandb

from dff.lit.loggers import wandb_logger
from dff.lit.loggers.wandb_logger import OfflineWandb, unreachable


@pytest.fixture
def begun(monkeypatch):
    """What wandb.init was asked for; nothing is begun."""
    asked = []

    def init(**settings):
        asked.append(settings)
        if problem is not None and settings.get("mode") != "offline":
            raise problem
        return object()

    problem = None

    def make(error=None):
        nonlocal problem
        problem = error
        return asked

    for name in ("WANDB_MODE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("WANDB_MODE", "x")  # so that what the logger sets is taken back
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "init", init)
    return make


class Answers(BaseHTTPRequestHandler):
    code = 200

    def do_GET(self):
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """The port of a server, and one that takes no connection."""
    answers = type("Answers", (Answers,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as one, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one.server_port, closed.getsockname()[1], answers
        one.shutdown()


def test_without_a_server_it_goes_on_offline_and_says_how_to_send_the_run(
    begun, server, monkeypatch, tmp_path, capsys
):
    asked = begun()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[1]}")
    logger = OfflineWandb("run", str(tmp_path), "dff")
    assert logger.experiment is logger.experiment
    assert [one["mode"] for one in asked] == ["offline"]
    told = capsys.readouterr().out
    assert f"out of reach at http://127.0.0.1:{server[1]} (" in told
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    "error", [wandb.errors.CommError("timed out"), wandb.errors.AuthenticationError("no such key")]
)
def test_a_server_that_refuses_likewise(error, begun, server, monkeypatch, tmp_path, capsys):
    asked = begun(error)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[0]}")
    assert OfflineWandb("run", str(tmp_path), "dff").experiment is not None
    assert [one.get("mode") for one in asked] == [None, "offline"]
    assert str(error) in capsys.readouterr().out


def test_a_mode_set_by_hand_is_left_alone(begun, server, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[1]}")
    monkeypatch.setenv("WANDB_MODE", "online")
    begun(wandb.errors.CommError("timed out"))
    with pytest.raises(wandb.errors.CommError):
        _ = OfflineWandb("run", str(tmp_path), "dff").experiment


def test_a_reachable_server_is_used(begun, server, monkeypatch, tmp_path, capsys):
    asked = begun()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[0]}")
    assert OfflineWandb("run", str(tmp_path), "dff").experiment is not None
    assert asked[0].get("mode") is None and not capsys.readouterr().out


def test_the_proxy_is_asked_in_the_servers_place(begun, server, monkeypatch):
    begun()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server[0]}")
    assert unreachable() is None
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server[1]}")
    assert "http://wandb.invalid (" in unreachable()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[0]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert unreachable() is None


@pytest.mark.parametrize(("code", "answers"), [(401, True), (404, True), (500, False)])
def test_a_server_that_knows_no_one_is_there_and_a_broken_one_is_not(
    code, answers, begun, server, monkeypatch
):
    begun()
    server[2].code = code
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server[0]}")
    assert (unreachable() is None) == answers


def test_what_does_not_answer_is_waited_for_in_bounds(begun, monkeypatch):
    """As a name server, or one that takes a connection and says nothing."""
    begun()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    monkeypatch.setattr(wandb_logger, "build_opener", lambda: time.sleep(30))
    started = time.monotonic()
    assert "no answer in 0.2 s" in unreachable(0.2)
    assert time.monotonic() - started < 5
