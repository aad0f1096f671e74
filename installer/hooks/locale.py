"""Time zone and locale."""

from collections.abc import Mapping

from installer.hooks.base import Context, File, Hook, Report
from installer.target import Target
from node.errors import KitError
from node.log import log

ZONES = "usr/share/zoneinfo"
FALLBACK_ZONE = "Etc/UTC"
SUPPORTED = "usr/share/i18n/SUPPORTED"


class HookTimezone(Hook):
    """The configured time zone, else the node's where the guest knows it."""

    name = "timezone"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("tzdata",)

    def apply(self, context: Context, target: Target) -> Report | None:
        wanted = context.settings.timezone
        zone = wanted or context.node.timezone
        if not _is_zone(zone, target):
            if wanted:
                raise KitError(
                    f"time zone {zone}: the guest's tzdata does not know it",
                    hint="set TIMEZONE to a name such as Europe/Paris or Etc/UTC",
                )
            # Old names are in a package of their own in newer suites: tzdata-legacy.
            log.warning("the guest does not know the node's time zone %s: it gets UTC", zone)
            zone = FALLBACK_ZONE
        target.symlink("etc/localtime", f"/{ZONES}/{zone}")
        target.write("etc/timezone", f"{zone}\n")
        return None


def _is_zone(name: str, target: Target) -> bool:
    # Links from one zone to another are usual, but there are some that lead elsewhere.
    zones = target.path(ZONES).resolve()
    path = (zones / name).resolve()
    return path.is_relative_to(zones) and path.is_file()


class HookLocale(Hook):
    """The default locale; any but C.UTF-8 is generated in the guest."""

    name = "locale"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("locales",) if _generated(context) else ()

    def render(self, context: Context) -> Mapping[str, File]:
        return {"etc/default/locale": File(f"LANG={context.settings.locale}\n")}

    def apply(self, context: Context, target: Target) -> Report | None:
        target.write_all(self.render(context))
        if _generated(context):
            target.write("etc/locale.gen", _supported(context.settings.locale, target) + "\n")
            target.run(["locale-gen"])
        return None


def _generated(context: Context) -> bool:
    return context.settings.locale not in ("C", "POSIX", "C.UTF-8")


def _supported(name: str, target: Target) -> str:
    """The line of locale.gen(5) for a locale: its name and its character set."""
    for line in target.read(SUPPORTED).splitlines():
        if line.split() and line.split()[0] == name:
            return line.strip()
    raise KitError(
        f"locale {name}: the guest's locales package does not know it",
        hint="set LOCALE to a name such as en_GB.UTF-8 or C.UTF-8",
    )
