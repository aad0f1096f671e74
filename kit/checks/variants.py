"""Checks what a create of each variant needs: settings, programs, keyrings, mirrors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from installer import releases
from installer.bootstrap import mirror_check
from installer.bootstrap.mirrors import NO_MIRROR, archives
from installer.bootstrap.plan import BootstrapPlan
from installer.cache_build import Builder
from installer.create import PACKAGES, Decided
from installer.settings import load
from installer.settings.load import BadSettingsError
from kit.checks.children import at_once
from kit.site import OS_DIR
from node.errors import KitError
from node.finding import Finding, failure, note, ok, problem
from node.run import which

MIRROR_SECONDS = 7.0
# For a suite that has left the mirrors while MIRROR is unset. The kit has such a variant.
_LEFT = "if nobody needs the variant, remove it from variants.list"


@dataclass
class Variants:
    """The findings about variants, and the decisions for those that creates do not refuse."""

    findings: list[Finding] = field(default_factory=list)
    decided: dict[str, Decided] = field(default_factory=dict)


def check(names: list[str], builder: Builder) -> Variants:
    """Reads the settings of variants, and decides as a create of each would."""
    looked = Variants()
    seen: set[str] = set()  # each variant has the settings of the site, too

    def add(found: Finding) -> None:
        if found.text not in seen:
            looked.findings.append(found)
        seen.add(found.text)

    for name in names:
        about = f"variant {name}"
        try:
            for warning in load.load(name, {}, os_dir=OS_DIR).warnings:
                add(
                    note(
                        "settings", warning, "check the spelling; the site's hooks get the variable"
                    )
                )
            decided = builder.decide(name)
            for hook in decided.hooks:
                hook.check(decided.context)
        except BadSettingsError as error:
            for text in error.problems:
                left = text in _left_the_mirrors()
                add(note(about, text, _LEFT) if left else problem(about, text, error.hint))
        except KitError as error:
            add(failure(about, error))
        else:
            looked.decided[name] = decided
            plan = decided.plan
            looked.findings.append(ok(about, f"{plan.suite} ({plan.arch}), by {plan.engine}"))
    return looked


def _left_the_mirrors() -> set[str]:
    texts = (releases.suite_problem(suite, None) for suite in releases.known_suites())
    return {text for text in texts if text is not None}


def programs(decided: Mapping[str, Decided]) -> Iterator[Finding]:
    """The programs that creates of these variants need."""
    needed: dict[str, list[str]] = {}
    for name, each in decided.items():
        for tool in each.tools:
            needed.setdefault(tool, []).append(name)
    missing = [tool for tool in sorted(needed) if which(tool) is None]
    for tool in missing:
        yield problem(
            "programs",
            f"{tool} is missing; these variants need it: {', '.join(needed[tool])}",
            f"apt-get install {PACKAGES.get(tool, tool)}",
        )
    for tool in sorted(PACKAGES):
        if tool not in needed and which(tool) is None:
            yield note(
                "programs",
                f"{tool} is missing; creates with other settings may need it",
                f"apt-get install {PACKAGES[tool]}",
            )
    if needed and not missing:
        yield ok("programs", f"all {len(needed)} that creates need are there")


def mirrors(decided: Mapping[str, Decided]) -> Iterator[Finding]:
    """Whether the archives of each variant answer, signed by its keys; all are asked at once."""
    plans = {name: each.plan for name, each in decided.items()}
    asked = {_key(plan): plan for plan in plans.values()}
    answers = at_once({key: partial(_answer, plan) for key, plan in asked.items()}, MIRROR_SECONDS)
    for key, plan in asked.items():
        about = f"mirrors of {', '.join(name for name in plans if _key(plans[name]) == key)}"
        found = archives(plan.suite, plan.family, plan.mirrors)
        if key not in answers:
            uris = ", ".join(dict.fromkeys(uri for uri, _ in found))
            yield problem(
                about,
                f"no answer within {MIRROR_SECONDS:.0f} s: {uris}",
                "check PROXY, and the node's network and name servers",
            )
        elif answer := answers[key]:
            yield problem(about, *answer)
        elif not found:
            yield note(
                about,
                "the default of the engine; it cannot be checked",
                "set MIRROR; then creates check it before they touch a disk",
            )
        else:
            yield ok(about, ", ".join(f"{uri} has {suite}" for uri, suite in found))
        yield from _security(plan, decided, about)


def _security(plan: BootstrapPlan, decided: Mapping[str, Decided], about: str) -> Iterator[Finding]:
    wanted = releases.security_suite(plan.suite, plan.family)
    settings = [each.context.settings for each in decided.values() if each.plan == plan]
    meant = any(each.security_mirror == NO_MIRROR for each in settings)
    if wanted and plan.mirrors.main and not plan.mirrors.security and not meant:
        yield note(
            about,
            f"no mirror is known for {wanted}: guests get no security updates",
            "set SECURITY_MIRROR, or set it to none if that is intended",
        )


def _key(plan: BootstrapPlan) -> str:
    """Equal for plans with the same mirrors and keys."""
    return repr((plan.suite, plan.mirrors, plan.keyrings, plan.engine, plan.proxy))


def _answer(plan: BootstrapPlan) -> tuple[str, str] | None:
    """What is wrong, and its remedy; None if nothing is."""
    try:
        mirror_check.check(plan)
    except KitError as error:
        return error.message, error.hint
    except Exception as error:  # the only way for this process to report it
        return f"unexpected: {type(error).__name__}: {error}", "this is a bug: report it"
    return None
