"""The users and groups that a guest's packages have made; USER must not be one of them."""

from collections.abc import Collection, Iterable

from installer.guest_tree import GuestTree
from node.errors import KitError

# useradd(8) also makes a group with the user's name.
FILES = ("etc/passwd", "etc/group")


def names(text: str) -> frozenset[str]:
    """The names in the text of passwd(5) or group(5), or of both."""
    return frozenset(line.partition(":")[0] for line in text.splitlines() if ":" in line)


def of_guest(target: GuestTree) -> frozenset[str]:
    """The names of the guest's users and groups."""
    return names("".join(target.read(path) for path in FILES if target.exists(path)))


def refuse(wanted: Iterable[str], taken: Collection[str]) -> None:
    """Refuses users whose name is taken.

    Raises:
        KitError: a name is taken.
    """
    for name in wanted:
        if name in taken:
            raise KitError(
                f"user {name}: a package of the guest makes a user or a group of that name",
                hint="choose another USER",
            )
