"""The time zone and the locale of the guest."""

from collections.abc import Mapping
from pathlib import Path

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, File, Hook, Later
from installer.settings import zones
from node.errors import KitError
from node.log import log

ZONES = "usr/share/zoneinfo"
FALLBACK_ZONE = "Etc/UTC"
SUPPORTED = "usr/share/i18n/SUPPORTED"
_HINT = "set TIMEZONE to a name such as Europe/Paris or Etc/UTC"


class HookTimezone(Hook):
    """Sets the configured time zone, or the node's if the guest knows it."""

    name = "timezone"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("tzdata",)

    def check(self, context: Context) -> None:
        zone = context.settings.timezone
        if zone and zones.ZONEINFO.is_dir() and not zones.aliases(zone):
            raise KitError(f"time zone {zone}: no such zone", hint=_HINT)

    def apply(self, context: Context, target: GuestTree) -> Later:
        wanted = context.settings.timezone or context.node.timezone
        zoneinfo = target.path(ZONES)
        names = zones.aliases(wanted) or (wanted,)
        # The names of a zone differ between suites.
        zone = next((name for name in names if zones.is_zone(name, zoneinfo)), None)
        if zone is None and context.settings.timezone:
            raise KitError(f"time zone {wanted}: the guest's tzdata does not know it", hint=_HINT)
        if zone is None:
            log.warning("the guest does not know the node's time zone %s: UTC is used", wanted)
            zone = FALLBACK_ZONE
        target.symlink("etc/localtime", f"/{ZONES}/{zone}")
        target.write("etc/timezone", f"{zone}\n")
        return Later()


class HookLocale(Hook):
    """Sets the default locale, and generates it in the guest unless it is C.UTF-8."""

    name = "locale"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("locales",) if _generated(context) else ()

    def check(self, context: Context) -> None:
        known = Path("/", SUPPORTED)  # of the node's own package locales
        if _generated(context) and known.is_file():
            _supported(context.settings.locale, known.read_text())

    def render(self, context: Context) -> Mapping[str, File]:
        return {"etc/default/locale": File(f"LANG={context.settings.locale}\n")}

    def apply(self, context: Context, target: GuestTree) -> Later:
        target.write_all(self.render(context))
        if _generated(context):
            line = _supported(context.settings.locale, target.read(SUPPORTED))
            target.write("etc/locale.gen", line + "\n")
            target.run(["locale-gen"])
        return Later()


def _generated(context: Context) -> bool:
    return context.settings.locale not in ("C", "POSIX", "C.UTF-8")


def _supported(name: str, table: str) -> str:
    """The line of locale.gen(5) for a locale: its name and its character set.

    Raises:
        KitError: the table does not have the locale.
    """
    for line in table.splitlines():
        if line.split() and line.split()[0] == name:
            return line.strip()
    raise KitError(
        f"locale {name}: the package locales does not know it",
        hint="set LOCALE to a name such as en_GB.UTF-8 or C.UTF-8",
    )
