"""Runs scripts as a person does, each in a process of its own, without paying for the imports.

A process imports what the scripts import, and then forks one for each command. The command has its
own arguments, folder, environment, signals and exit code; only the seconds of the imports are gone.
With DFF_COLD=1 each command is a fresh `python scripts/X.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
COLD = bool(os.environ.get("DFF_COLD"))


@dataclass
class Ended:
    """How a command ended: its exit code (minus the signal's number), and what it wrote."""

    code: int
    out: str
    err: str


@dataclass
class Command:
    """One call of a script.

    Args:
        words: The script's name and its arguments.
        folder: Where it is called.
        env: Variables over those of this process; None takes one away.
        setup: Lines of Python that the process runs first: what is broken on purpose.
        cold: A fresh interpreter, for what matters before or during the imports.
    """

    words: list[str]
    folder: Path
    env: dict[str, str | None] = field(default_factory=dict)
    setup: str = ""
    cold: bool = False


class Running:
    """A command that has begun."""

    def __init__(self, place: Path, process: subprocess.Popen | None = None) -> None:
        self.place, self.process = place, process

    @property
    def pid(self) -> int:
        """Of the script's process."""
        if self.process is not None:
            return self.process.pid
        deadline = time.monotonic() + 120
        while not (self.place / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        return int((self.place / "pid").read_text())

    def said(self) -> str:
        """All that it has written so far."""
        return self._read("out") + self._read("err")

    def ended(self) -> bool:
        """Whether it has."""
        if self.process is not None:
            return self.process.poll() is not None
        return (self.place / "code").exists()

    def send(self, number: int) -> None:
        """Sends a signal to the script's process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it and all that it has started, where it has not ended."""
        if not self.ended():
            os.killpg(os.getpgid(self.pid), signal.SIGKILL)

    def wait(self, seconds: float) -> Ended:
        """How it ended; TimeoutError where it has not, after killing it and all it has started."""
        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(
                    f"not ended after {seconds:.0f} s; it said: {self.said()[-3000:]}"
                )
            time.sleep(0.01)
        code = self.process.returncode if self.process else int((self.place / "code").read_text())
        return Ended(code, self._read("out"), self._read("err"))

    def _read(self, name: str) -> str:
        file = self.place / name
        return file.read_text(errors="replace") if file.exists() else ""


class Scripts:
    """Starts commands; used in a `with` statement."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._server: subprocess.Popen | None = None

    def __enter__(self) -> "Scripts":
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stdin.close()
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:  # another process has its input open, forked since
                self._server.kill()
                self._server.wait()

    def start(self, command: Command) -> Running:
        """Starts a command, beside others if there are any."""
        self.count += 1
        place = self.folder / f"command_{self.count}"
        place.mkdir(parents=True)
        if command.cold or COLD:
            return Running(place, self._cold(command, place))
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment({}),
            )
            self._server.stdout.readline()  # the imports are no part of any command's time
        order = {
            "words": command.words, "folder": str(command.folder), "place": str(place),
            "env": environment(command.env), "setup": command.setup,
        }  # fmt: skip
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return Running(place)

    def _cold(self, command: Command, place: Path) -> subprocess.Popen:
        script, *rest = command.words
        words = [sys.executable, str(ROOT / "scripts" / script), *rest]
        if command.setup:
            (place / "run.py").write_text(
                f"import runpy, sys\nsys.argv = {words[1:]!r}\n"
                f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n{command.setup}\n"
                f"runpy.run_path({words[1]!r}, run_name='__main__')\n"
            )
            words = [sys.executable, str(place / "run.py")]
        with (place / "out").open("w") as out, (place / "err").open("w") as err:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=command.folder,
                env=environment(command.env),
                start_new_session=True,
            )


def environment(changes: dict[str, str | None]) -> dict[str, str]:
    """That of this process, without what would depend on the person who runs the tests."""
    own = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **changes,
    }
    own.pop("DFF_TRACEBACK", None)
    return {name: value for name, value in own.items() if value is not None}


def serve() -> None:
    """Forks for each order that comes in, a line of JSON each, until there are no more."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import dff.data.video.writer
    import dff.lit.cli
    import dff.lit.writer  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody is waited for here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        if os.fork() == 0:
            _watch(json.loads(line))


def _watch(order: dict) -> None:
    """Starts a script's process, and writes how it ended."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    place = Path(order["place"])
    pid = os.fork()
    if pid == 0:
        _run(order, place)
    (place / "pid.new").write_text(str(pid))
    (place / "pid.new").rename(place / "pid")
    # its worker processes may ask the whole group to end
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    (place / "code.new").write_text(str(code))
    (place / "code.new").rename(place / "code")
    os._exit(0)


def _run(order: dict, place: Path) -> None:
    import runpy

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("/dev/null", place / "out", place / "err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    script = str(ROOT / "scripts" / order["words"][0])
    sys.argv = [script, *order["words"][1:]]
    sys.stdin = open(0)
    code = 1
    try:
        exec(order["setup"], {})
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            code = -signal.SIGINT
    finally:
        _leave(code)


def _leave(code: int) -> None:
    """Ends as the interpreter does, so that what would hang at its exit hangs here."""
    import atexit
    import threading

    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    serve()
