"""Time zone and locale."""

from collections.abc import Mapping

from installer.hooks.base import Context, File, Hook, Report
from installer.target import Target
from node.errors import KitError

SUPPORTED = "usr/share/i18n/SUPPORTED"


class HookTimezone(Hook):
    """The configured time zone, else the node's."""

    name = "timezone"

    def packages(self, context: Context) -> tuple[str, ...]:
        return ("tzdata",)

    def render(self, context: Context) -> Mapping[str, File]:
        return {"etc/timezone": File(f"{_timezone(context)}\n")}

    def apply(self, context: Context, target: Target) -> Report | None:
        zone = f"usr/share/zoneinfo/{_timezone(context)}"
        if not target.exists(zone):
            raise KitError(
                f"time zone {_timezone(context)}: the guest's tzdata does not know it",
                hint="set TIMEZONE to a name such as Europe/Paris or Etc/UTC",
            )
        target.symlink("etc/localtime", f"/{zone}")
        target.write_all(self.render(context))
        return None


def _timezone(context: Context) -> str:
    return context.settings.timezone or context.node.timezone


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
