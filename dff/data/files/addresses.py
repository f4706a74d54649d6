"""Addresses, as a person types them and as they are shown."""

import hashlib
import os
import re

_SCHEME = re.compile(r"([A-Za-z][\w+.-]+)://")
_SECRET = re.compile(r"(?!\[)(?:([^/@:]*):(?!\d+/)[^@]*(?:@[^@/]*(?=@))*|[^/@:]+)@")
"""User and password, or a token, before a host; a secret key may hold slashes, a password @."""
_WEB = ("http", "https")


def scheme_of(word: str) -> str | None:
    """The protocol of an address, such as "s3"; None where it is none."""
    match = _SCHEME.match(word)
    return match[1].lower() if match else None


def is_address(word: str) -> bool:
    """Whether something typed is an address; what exists on this machine is a file."""
    return scheme_of(word) is not None and not os.path.lexists(word)


def masked(address: str) -> str:
    """An address without its password and query, for messages and pages."""
    scheme, _, rest = address.partition("://")
    path, mark, _ = rest.partition("#")[0].partition("?")
    return f"{scheme}://{_without_user(path)}{'?***' if mark else ''}"


def shown(address: str) -> str:
    """The address of a file without what is secret in it; different files stay different.

    The query of a web address may be a signature, and may tell files apart: a digest takes its
    place. Elsewhere `?` and `#` are letters of names.
    """
    scheme, _, rest = address.partition("://")
    path, mark, query = rest.partition("?")
    if mark and scheme.lower() in _WEB:
        rest = f"{path}?***{hashlib.sha256(query.encode()).hexdigest()[:8]}"
    return f"{scheme}://{_without_user(rest)}"


def _without_user(rest: str) -> str:
    """What follows the scheme of an address, without its password or token."""
    found = _SECRET.match(rest)
    if found is None:
        return rest
    return f"{found[1] + ':' if found[1] else ''}***@{rest[found.end() :]}"


def without_secrets(text: str, address: str) -> str:
    """A text of others, such as the message of an error, without what is secret in an address."""
    rest = address.partition("://")[2]
    query = rest.partition("?")[2] if scheme_of(address) in _WEB else ""
    found = _SECRET.match(rest)
    user = found[0][:-1] if found else ""
    for secret in (user, user.partition(":")[2], query):
        text = text.replace(secret, "***") if secret else text
    return text
