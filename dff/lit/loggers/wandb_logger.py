"""W&B that does not keep a training waiting: offline where its server cannot be used."""

import netrc
import os
import ssl
import threading
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import build_opener

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
    host = urlsplit(_server()).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def unreachable(seconds: float = PROBE_SECONDS) -> str | None:
    """Why the server of W&B does not answer, through a proxy where one is set; None where it does.

    Args:
        seconds: After them it is out of reach; a name server may take much longer.
    """
    address = _server()
    problem = [f"no answer in {seconds:g} s"]

    def ask() -> None:
        try:
            # Not urlopen, which keeps the proxies of its first call.
            build_opener().open(f"{address}/healthz", timeout=seconds).close()
            problem.clear()
        except HTTPError as error:
            problem[:] = [f"it answers {error.code}"] if error.code >= 500 else []
        except URLError as error:
            # Which certificates count is for W&B to say, whose list is another one.
            trusted = not isinstance(error.reason, ssl.SSLError)
            problem[:] = [getattr(error.reason, "strerror", None) or str(error.reason)] * trusted
        except (OSError, ValueError, HTTPException) as error:
            problem[:] = [str(error)]

    waiting = threading.Thread(target=ask, daemon=True)
    waiting.start()
    waiting.join(seconds)
    return f"W&B is out of reach at {address} ({problem[0]})" if problem else None


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "").rstrip("/") or "https://api.wandb.ai"
