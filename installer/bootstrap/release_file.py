"""What the index of a suite says of itself: InRelease, Release (DebianRepository/Format). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
# What apt allows clocks to differ by (Acquire::Max-FutureTime, apt.conf(5)).
FUTURE_SECONDS = 10


@dataclass(frozen=True)
class ReleaseFile:
    """Fields of an index by their names in small letters, and its whole text."""

    fields: dict[str, str]
    text: str

    @property
    def origin(self) -> str:
        """Whose archive it is; "" where it does not say."""
        return self.fields.get("origin", "")

    def lacking(self, components: Sequence[str]) -> tuple[str, ...]:
        """Those of these components that it does not have; none where it lists no components.

        Old security suites call theirs updates/main and so on: apt knows these by both names.
        """
        listed = self.fields.get("components", "").split()
        known = {*listed, *(name.rpartition("/")[2] for name in listed)}
        return tuple(name for name in components if listed and name not in known)

    def has_architecture(self, arch: str) -> bool:
        """Whether it may have packages of an architecture."""
        listed = self.fields.get("architectures", "").split()
        return not listed or arch in listed or f"/binary-{arch}/" in self.text

    def expired(self, now: datetime) -> datetime | None:
        """Since when it counts no more, where it says so and that is past."""
        until = self._time("valid-until")
        return until if until is not None and until < now else None

    def from_the_future(self, now: datetime) -> datetime | None:
        """When it was made, where that is to come by this clock."""
        made = self._time("date")
        return made if made and (made - now).total_seconds() > FUTURE_SECONDS else None

    def _time(self, name: str) -> datetime | None:
        try:
            found = parsedate_to_datetime(self.fields.get(name, ""))
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse(index: bytes) -> ReleaseFile:
    """Reads an index; what stands outside of what is signed in an InRelease does not count."""
    text = index.decode(errors="replace")
    if text.startswith(_SIGNED):
        text = text.partition("\n\n")[2].partition(f"\n{_SIGNATURE}")[0]
    lines = [line for line in text.splitlines() if ":" in line and not line[0].isspace()]
    pairs = [line.split(":", 1) for line in lines]
    return ReleaseFile({name.lower(): value.strip() for name, value in pairs}, text)
