"""`instance-kit cache`: lists, makes and removes the kept bootstraps of this node."""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from installer.bootstrap import cache_directory
from installer.bootstrap.cache_directory import Kept
from installer.cache_build import Builder
from installer.create import Decided
from installer.settings import MIB
from kit import DONE, FAILED, site
from node.errors import KitError
from node.isolation.namespace import contained
from node.lockfile import is_locked, unlink_if_free
from node.log import log, step
from node.program import run_command, say
from node.text import printable, size

NAME = "cache"
ABOUT = "list, build, rebuild or remove kept bootstraps"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb: verbs of its own."""
    verbs = parser.add_subparsers(metavar="VERB", dest="cache_verb", required=True)
    listed = verbs.add_parser("list", help="list kept bootstraps with age, last use and variants")
    listed.add_argument("--json", action="store_true", help="for programs")
    listed.set_defaults(act=_list)
    build = verbs.add_parser("build", help="build missing caches of variants")
    build.add_argument("variants", nargs="+", metavar="VARIANT", help="bookworm, trixie, …")
    build.set_defaults(act=_build, quiet=False)
    refresh = verbs.add_parser("refresh", help="rebuild caches; creates use the old ones meanwhile")
    refresh.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        help="default: all published ones that have a cache",
    )
    refresh.set_defaults(act=_refresh, quiet=False)
    prune = verbs.add_parser(
        "prune", help="remove old caches, and the least recently used above CACHE_SIZE"
    )
    prune.add_argument("--all", action="store_true", help="remove all that no create is reading")
    prune.set_defaults(act=_prune)


def run(options: argparse.Namespace) -> int:
    """Runs the sub-verb."""
    code: int = options.act(options)
    return code


class Listed(NamedTuple):
    """A cache, the variants whose creates use it, and whether one is reading it."""

    kept: Kept
    variants: tuple[str, ...]
    in_use: bool


def _list(options: argparse.Namespace) -> int:
    decided = site.published()
    listed = [
        Listed(
            kept,
            tuple(name for name, each in decided.items() if site.cache_path(each) == kept.path),
            is_locked(kept.path),
        )
        for directory in site.cache_directories()
        for kept in cache_directory.kept(directory)
    ]
    if options.json:
        say(json.dumps([as_json(each) for each in listed], indent=2))
    else:
        say("\n".join(as_text(listed, site.settings("").cache_size, time.time())))
    return DONE


def as_text(listed: Sequence[Listed], limit: int | None, now: float) -> list[str]:
    """Lines for people.

    Args:
        listed: the caches.
        limit: CACHE_SIZE in MiB, None for none.
        now: seconds since the epoch.
    """
    lines = []
    for each in listed:
        made, used = ((now - each.kept.made) / 86400, (now - each.kept.used) / 86400)
        whose = f"for {', '.join(each.variants)}" if each.variants else "for no current variant"
        use = "in use" if each.in_use else f"used {max(0.0, used):.1f} days ago"
        lines.append(
            f"{each.kept.path}  {size(each.kept.size)}, made {made:.1f} days ago, {use}, {whose}"
        )
    total = size(sum(each.kept.size for each in listed))
    allowed = "no limit" if limit is None else f"of {size(limit * MIB)}"
    lines.append(f"{len(listed)} kept, {total} ({allowed}, CACHE_SIZE)")
    return [printable(line) for line in lines]


def as_json(listed: Listed) -> dict[str, Any]:
    """A cache for programs, as instance-kit(8) describes it; times in seconds since the epoch."""
    return {
        "path": str(listed.kept.path),
        "bytes": listed.kept.size,
        "made": int(listed.kept.made),
        "used": int(listed.kept.used),
        "variants": listed.variants,
        "in_use": listed.in_use,
    }


def _build(options: argparse.Namespace) -> int:
    builder = site.builder()
    decided = {name: builder.decide(name) for name in options.variants}
    missing = {name: each for name, each in decided.items() if not site.cache_path(each).exists()}
    for name in decided.keys() - missing.keys():
        log.info("variant %s: its cache exists; `cache refresh` rebuilds it", name)
    return _renew(builder, missing)


def _refresh(options: argparse.Namespace) -> int:
    builder = site.builder()
    if options.variants:
        return _renew(builder, {name: builder.decide(name) for name in options.variants})
    site.settings("")  # if these are wrong, no variant is right
    kept = {}
    for name in site.variants():
        try:
            decided = builder.decide(name)
        except KitError as error:
            log.info("variant %s: left out: %s", name, error.message)
            continue
        if site.cache_path(decided).exists():
            kept[name] = decided
    return _renew(builder, kept)


def _renew(builder: Builder, wanted: dict[str, Decided]) -> int:
    """Makes caches in own namespaces, as creates do: after SIGKILL, nothing stays mounted."""
    if not wanted:
        return DONE

    def act() -> int:
        _renew_all(builder, wanted)
        return DONE

    return contained(lambda: run_command(act, failed=FAILED, debugging="--debug"))


def _renew_all(builder: Builder, wanted: dict[str, Decided]) -> None:
    """Makes each cache once; after a failure, it goes on with the next one.

    Raises:
        KitError: one or more could not be made.
    """
    failures: dict[str, KitError] = {}
    made: set[Path] = set()
    for name, decided in wanted.items():
        if site.cache_path(decided) in made:  # of another variant, such as default
            continue
        made.add(site.cache_path(decided))
        try:
            with step(f"cache of variant {name}"):
                builder.renew(decided)
        except KitError as error:
            log.error("variant %s: %s", name, error.message)
            log.error("  hint: %s", error.hint)
            failures[name] = error
    if len(made) == 1 and failures:
        raise next(iter(failures.values()))
    if failures:
        raise KitError(
            f"caches of {', '.join(failures)}: not made ({len(failures)} of {len(made)})",
            hint="the lines above name the reasons",
        )


def _prune(options: argparse.Namespace) -> int:
    stayed: list[Path] = []
    for directory in site.cache_directories():
        before = list(cache_directory.kept(directory))
        if options.all:
            for kept in before:
                if not unlink_if_free(kept.path) and not is_locked(kept.path):
                    stayed.append(kept.path)
        elif os.access(directory, os.W_OK):
            cache_directory.tidy(directory, site.settings(""), "")
        else:
            stayed.append(directory)
        for kept in before:
            if not kept.path.exists():
                say(printable(f"removed {kept.path}, {size(kept.size)}"))
    if stayed:
        raise KitError(
            f"caches: not removed: {', '.join(map(str, stayed))}",
            hint="is the file system read-only? findmnt -T, lsattr",
        )
    return DONE
