"""Parses the index of a suite, InRelease or Release (DebianRepository/Format). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
# The difference of clocks that apt allows (Acquire::Max-FutureTime, apt.conf(5)).
FUTURE_SECONDS = 10


@dataclass(frozen=True)
class ReleaseFile:
    """The fields of an index by their names in lower case, and its whole text."""

    fields: dict[str, str]
    text: str

    @property
    def origin(self) -> str:
        """The distributor of the archive, such as Debian; "" if there is no such field."""
        return self.fields.get("origin", "")

    def lacking(self, components: Sequence[str]) -> tuple[str, ...]:
        """Those of these components that the suite lacks; empty if it lists no components.

        Old security suites list updates/main and so on: apt accepts these with both names.
        """
        listed = self.fields.get("components", "").split()
        known = {*listed, *(name.rpartition("/")[2] for name in listed)}
        return tuple(name for name in components if listed and name not in known)

    def has_architecture(self, arch: str) -> bool:
        """Whether the suite may have packages of an architecture."""
        listed = self.fields.get("architectures", "").split()
        return not listed or arch in listed or f"/binary-{arch}/" in self.text

    def expired(self, now: datetime) -> datetime | None:
        """The time at which the index has expired; None if it has not, or has no such field."""
        until = self._time("valid-until")
        return until if until is not None and until < now else None

    def from_the_future(self, now: datetime) -> datetime | None:
        """The time at which the index was made, if that is in the future; else None."""
        made = self._time("date")
        return made if made and (made - now).total_seconds() > FUTURE_SECONDS else None

    def _time(self, name: str) -> datetime | None:
        try:
            found = parsedate_to_datetime(self.fields.get(name, ""))
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse(index: bytes) -> ReleaseFile:
    """Parses an index; of an InRelease, only the signed part."""
    text = index.decode(errors="replace")
    if text.startswith(_SIGNED):
        text = text.partition("\n\n")[2].partition(f"\n{_SIGNATURE}")[0]
    lines = [line for line in text.splitlines() if ":" in line and not line[0].isspace()]
    pairs = [line.split(":", 1) for line in lines]
    return ReleaseFile({name.lower(): value.strip() for name, value in pairs}, text)
