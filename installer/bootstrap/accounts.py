"""The users and groups that a guest's packages have made: a user of ours can be none of them."""

from collections.abc import Collection, Iterable

from installer.guest_tree import GuestTree
from node.errors import KitError

# A user gets a group of its own name (useradd(8)).
FILES = ("etc/passwd", "etc/group")


def names(text: str) -> frozenset[str]:
    """The names in passwd(5) and group(5), one after the other."""
    return frozenset(line.partition(":")[0] for line in text.splitlines() if ":" in line)


def of_guest(target: GuestTree) -> frozenset[str]:
    """The names that a guest has."""
    return names("".join(target.read(path) for path in FILES if target.exists(path)))


def refuse(wanted: Iterable[str], taken: Collection[str]) -> None:
    """Refuses users whose name is taken.

    Raises:
        KitError: there is such a one.
    """
    for name in wanted:
        if name in taken:
            raise KitError(
                f"user {name}: a package of the guest makes a user or a group of that name",
                hint="choose another USER",
            )
