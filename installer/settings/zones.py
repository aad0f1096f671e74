"""Time zones from the node's tzdata: which names exist, and which are aliases of the same zone."""

from pathlib import Path

ZONEINFO = Path("/usr/share/zoneinfo")
MAGIC = b"TZif"  # of compiled zones (tzfile(5), RFC 8536); tables in the same directory lack it


def is_zone(name: str, zoneinfo: Path) -> bool:
    """Whether a zoneinfo tree has this zone. Links that lead out of the tree do not count."""
    top = zoneinfo.resolve()
    path = (top / name).resolve()
    if not path.is_relative_to(top) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def aliases(name: str, zoneinfo: Path = ZONEINFO) -> tuple[str, ...]:
    """All names of a zone, the given one first; empty if the node does not know the zone.

    tzdata.zi lists them (zic(8), "Link lines": `L TARGET NAME`). It also has the old names whose
    files are in another package, tzdata-legacy, in newer releases.
    """
    table = zoneinfo / "tzdata.zi"
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    links = [line.split() for line in lines if line.startswith("L ")]
    target = next((words[1] for words in links if words[2:3] == [name]), name)
    family = [target, *(words[2] for words in links if words[1] == target)]
    if len(family) == 1 and not is_zone(name, zoneinfo) and f"Z {name} " not in "\n".join(lines):
        return ()
    return (name, *(other for other in family if other != name))
