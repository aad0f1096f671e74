"""Time zones by the node's own data: which names there are, and which stand for the same zone."""

from pathlib import Path

ZONEINFO = Path("/usr/share/zoneinfo")
MAGIC = b"TZif"  # of compiled zones (tzfile(5), RFC 8536); tables beside them lack it


def is_zone(name: str, zoneinfo: Path) -> bool:
    """Whether a tree of zones has this one. Links that lead out of the tree do not count."""
    top = zoneinfo.resolve()
    path = (top / name).resolve()
    if not path.is_relative_to(top) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def aliases(name: str, zoneinfo: Path = ZONEINFO) -> tuple[str, ...]:
    """All names of a zone, the given one first; empty where the node does not know it.

    tzdata.zi has them (zic(8), "Link lines": `L TARGET NAME`), also those old ones whose files are
    in a package of their own in newer releases (tzdata-legacy).
    """
    table = zoneinfo / "tzdata.zi"
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    links = [line.split() for line in lines if line.startswith("L ")]
    target = next((words[1] for words in links if words[2:3] == [name]), name)
    family = [target, *(words[2] for words in links if words[1] == target)]
    if len(family) == 1 and not is_zone(name, zoneinfo) and f"Z {name} " not in "\n".join(lines):
        return ()
    return (name, *(other for other in family if other != name))
