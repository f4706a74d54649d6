"""XML files, parsed without expanding anything that they declare."""

import os
from xml.etree import ElementTree

from dff.data.samples import SampleError

LARGEST = 2**30
"""Bytes of a file; the tree of one takes some ten times as much memory."""


def parse_xml(
    path: str | os.PathLike, data: bytes, cure: str, largest: int = LARGEST
) -> ElementTree.Element:
    """The root of an XML file.

    Args:
        path: For messages.
        data: Its content, in UTF-8.
        cure: What a message tells to do about a file that cannot be used.
        largest: Most bytes that it may have.

    Raises:
        SampleError: It is no XML, or declares a document type or entities.
    """
    if len(data) > largest:
        raise SampleError(f"{path} has {len(data):,} bytes, which no annotation has: {cure}")
    try:
        # text, not bytes: in another encoding a declaration could hide from the search below
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SampleError(f"{path} is no text ({error.reason}): {cure}") from error
    if "\0" in text:  # UTF-16, which the parser would understand and the search would not
        raise SampleError(f"{path} is no text (it holds zero bytes): {cure}")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SampleError(
            f"{path} declares a document type or entities, which annotations do not and which can "
            f"fill the memory: {cure}"
        )
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise SampleError(f"{path} is cut short or no XML ({error}): {cure}") from error
