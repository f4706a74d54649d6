"""W&B that does not keep a training waiting: offline where its server cannot be used."""

import netrc
import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

PROBE_SECONDS = 5.0
INIT_SECONDS = 20.0
"""How long W&B may take to begin a run; its own default is 90."""


class OfflineWandb(WandbLogger):
    """WandbLogger that goes on offline where its server is out of reach or refuses the key.

    W&B by itself tries for minutes, and ends the program then. A mode that is set by hand, with
    `offline` or WANDB_MODE, is left alone.

    Args:
        name: Of the run.
        save_dir: Folder for its files.
        project: It belongs to.
        offline: Whether not to ask the server at all.
        kwargs: Further settings of WandbLogger.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str = ".",
        project: str | None = None,
        offline: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, save_dir=save_dir, project=project, offline=offline, **kwargs)
        if "WANDB_INIT_TIMEOUT" not in os.environ:
            self._wandb_init.setdefault("settings", wandb.Settings(init_timeout=INIT_SECONDS))

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of W&B; it begins when it is first asked for, in the first process alone."""
        if self._experiment is None and not self._offline and "WANDB_MODE" not in os.environ:
            problem = unreachable()
            if problem is None:
                try:
                    return super().experiment
                except wandb.errors.Error as error:
                    problem = f"W&B refused: {str(error).splitlines()[0]}"
            print(
                f"{problem}; going on offline, and what is logged can be sent later: "
                f"wandb sync {self._save_dir}/wandb/offline-run-*",
                flush=True,
            )
            self._offline = True
            self._wandb_init["mode"] = "offline"
        return super().experiment


def logged_in() -> bool:
    """Whether wandb would find a key; asking wandb itself settles its mode for good."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(_server().hostname) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def unreachable(seconds: float = PROBE_SECONDS) -> str | None:
    """Why the server of W&B, or the proxy before it, takes no connection; None where it does.

    Args:
        seconds: After them it is out of reach; a name server may take much longer.
    """
    server = _server()
    proxies = {} if proxy_bypass(server.hostname) else getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    asked = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else server
    port = asked.port or (80 if asked.scheme == "http" else 443)
    answer = [f"no answer in {seconds:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((asked.hostname, port), timeout=seconds).close()
            answer.clear()
        except OSError as error:
            answer[:] = [error.strerror or str(error)]

    waiting = threading.Thread(target=connect, daemon=True)
    waiting.start()
    waiting.join(seconds)
    where = f"{asked.hostname}:{port}"
    through = f"the proxy {where} of {server.hostname}" if proxy else where
    return f"W&B is out of reach at {through} ({answer[0]})" if answer else None


def _server() -> Any:
    address = urlsplit(os.environ.get("WANDB_BASE_URL", ""))
    return address if address.hostname else urlsplit("https://api.wandb.ai")
