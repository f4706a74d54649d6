"""Files at addresses of fsspec (s3://, gs://, az://, https:// and others)."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from dff.data.files.addresses import scheme_of, shown, without_secrets
from dff.data.files.whole_files import CURES

_SUFFIX = re.compile(r"\.\w{1,8}$")
_VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call that which changes with the content; the first that is there."""


def open_address(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        ValueError: The package of its protocol is not installed, or nobody knows the protocol.
        OSError: It cannot be reached.
    """
    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import (
            available_protocols,
            get_filesystem_class,
            known_implementations,
        )
    except ImportError as error:
        raise ValueError(
            f"{shown(address)}: addresses want fsspec, which is not installed: "
            "pip install 'dff[remote]'"
        ) from error
    scheme = scheme_of(address) or ""
    if scheme not in available_protocols():
        raise ValueError(
            f"{shown(address)}: no protocol {scheme}:// is known to fsspec: give a file, or an "
            "address such as s3://bucket/video.mp4; streams are for dff live"
        )
    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        package = known_implementations[scheme]["class"].partition(".")[0]
        cure = f"wants {package}, which is not installed: pip install {package}"
        if package == "fsspec":  # its own, which wants others in turn
            cure = str(error).splitlines()[0]
        raise ValueError(f"{shown(address)}: {scheme}:// {cure}") from error
    with told(address):
        return url_to_fs(address)


@contextmanager
def told(address: str) -> Iterator[None]:
    """Says in words what goes wrong at an address, without what is secret in it.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: Anything else: it cannot be reached, or not with these rights.
    """
    try:
        yield
    except (FileExistsError, NotImplementedError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"nothing at {shown(address)}: check the address, and that these credentials may see it"
        ) from error
    except Exception as error:  # each library has exceptions of its own
        words = without_secrets(str(error).strip() or type(error).__name__, address).splitlines()[0]
        code = error.errno if isinstance(error, OSError) else None
        cure = CURES.get(code or 0, "check the network, the credentials and what they allow")
        raise OSError(f"{shown(address)} cannot be used now ({words}): {cure}") from error


@contextmanager
def local_copy(address: str) -> Iterator[str]:
    """A copy of a file, in a temporary folder that goes when it is no longer needed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError, OSError: It cannot be copied; see `open_address` and `told`.
    """
    files, path = open_address(address)
    suffix = _SUFFIX.search(PurePosixPath(path.partition("?")[0]).name)
    with tempfile.TemporaryDirectory(prefix="dff-") as folder:
        copy = f"{folder}/video{suffix[0] if suffix else ''}"  # nothing else of the name
        with told(address):
            files.get_file(path, copy)
        yield copy


def version_of(address: str) -> tuple[int, str]:
    """Bytes of a file, and what changes with its content; raises as `local_copy` does."""
    files, path = open_address(address)
    with told(address):
        found = files.info(path)
    version = next((found[key] for key in _VERSIONS if found.get(key) is not None), "")
    return int(found.get("size") or 0), str(version).strip('"')
