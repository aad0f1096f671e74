"""Parses XML of a KVM host's libvirt, which is input like any other. Pure."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from node.errors import KitError

LIMIT = 4 << 20  # characters; the XML of a domain has some KiB


def tree(text: str, root: str) -> Element:
    """The root element of a document; entities are refused, as they can grow without limit.

    Args:
        text: the document.
        root: the name that its root element must have.

    Raises:
        KitError: it is too long, damaged, declares entities, or is another document.
    """
    try:
        if len(text) > LIMIT:
            raise ValueError(f"{len(text)} characters")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it declares a document type")
        found = ElementTree.fromstring(text)
        if found.tag != root:
            raise ValueError(f"a document {found.tag[:40]!r}")
    except (ElementTree.ParseError, ValueError) as error:
        raise KitError(
            f"libvirt's answer: not a {root}: {error}", hint="does virsh work on that host?"
        ) from error
    return found
