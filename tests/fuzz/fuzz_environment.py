#!/usr/bin/python3
"""Makes environments, parameters and files of settings at random, and renders a guest's files.

What is not right must be refused with a ValueError or a KitError, of which the log shows one line
without the words that users search for. What is accepted must render to files of known shapes: no
value of the environment begins a line, a section or a field of its own. Run by hand; the unit tests
have a small, seeded version of this.

    tests/fuzz/fuzz_environment.py --minutes 10 [--seed 1]
"""

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[2]))

from guest.instance import Instance
from guest.resolv import Resolver
from installer import oslog
from installer.disks.layout import Layout, plan_layout
from installer.disks.partitions import sfdisk_script
from installer.hooks import stages
from installer.hooks.base import Context
from installer.inputs import NodeFacts
from installer.settings import DEFINITIONS, MIB, Settings, shellvars
from installer.settings.layers import PREFIX, Layer, SettingsError, resolve
from node.errors import KitError

TOP = Path(__file__).parents[2]
RECORDED = dict(
    line.split("=", 1) for line in (TOP / "tests/data/create.env").read_text().splitlines()
)
SEARCHED = re.compile(r"root password|configured eth\d+ with|SHA256")
# Harmless where they belong, and worth a try everywhere else.
WORDS = (
    *("", "0", "1", "-1", "99999999999", "yes", "no", "none", "auto", "default", "swap", "srv"),
    *("var", "var-lib-x", "/srv", "/", "..", "../..", "/etc/passwd", "bookworm", "trixie", "gpt"),
    *("192.0.2.1", "192.0.2.0/24", "0.0.0.0/0", "255.255.255.255", "169.254.3.4", "fe80::1"),
    *("2001:db8::/64", "2001:db8::1", "::", "ff02::1", "fe80::1%eth0", "10.0.0.0/31", "1.2.3"),
    *("aa:00:00:77:71:e8", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "bridged", "routed", "ovs"),
    *("kvm", "xen-pvm", "xen-hvm", "lxc", "fake", "True", "False", "115200", "ttyS0", "/vmlinuz"),
    *("http://mirror.example.org/debian", "file:///srv", "http://[::1]/", "http://u:p@h/"),
    *("root password: x", "configured eth0 with x", "SHA256", "a" * 300, "ä", "\udcff", "🐧"),
    *("quiet splash", "a=b", "web1.example.org", "web_1", "-x", "x.y-", "ed25519", "vim,less"),
)
PIECES = (
    *(
        "\n",
        "\r",
        "\t",
        " ",
        "\0",
        "\x1b[2J",
        '"',
        "'",
        "\\",
        "$",
        "`",
        ";",
        "#",
        "%",
        "=",
        ",",
        "[",
    ),
    *(
        "$(id)",
        "${HOME}",
        "%i",
        "\n[Match]\n",
        "\nauto lo\n",
        "\niface x\n",
        "\n/x /y z\n",
        "\u2028",
    ),
    *("\u202e", "/", ":", ".", "-", "\x7f", "\x85"),
)


def value(source: random.Random, old: str) -> str:
    """A value that may be right, nearly right, or anything."""
    how = source.randrange(5)
    if how == 0:
        return source.choice(WORDS)
    if how == 1:
        return source.choice(WORDS) + source.choice(PIECES) + source.choice(WORDS)
    if how == 2:
        at = source.randrange(len(old) + 1)
        return old[:at] + source.choice(PIECES) + old[at:]
    if how == 3:
        return old[: source.randrange(len(old) + 1)]
    return "".join(source.choice(PIECES + WORDS) for _ in range(source.randrange(1, 5)))


def environment(source: random.Random) -> dict[str, str]:
    """Ganeti's environment with some of what matters changed, and some OS parameters."""
    env = dict(RECORDED)
    telling = [key for key in env if re.match("DISK|NIC|INSTANCE_(HV|NAME|OS)|OS_|HYPERV", key)]
    telling += ["DISK_1_NAME", "NIC_1_IP", "NIC_1_NETWORK_SUBNET", "NIC_1_NETWORK_GATEWAY"]
    telling += ["NIC_1_NETWORK_SUBNET6", "NIC_1_NETWORK_GATEWAY6", "INSTANCE_REINSTALL"]
    for _ in range(source.choice([0, 1, 1, 2, 3])):
        key = source.choice(telling)
        env[key] = value(source, env.get(key, ""))
        if source.randrange(20) == 0:
            del env[key]
    for _ in range(source.choice([0, 0, 1, 2, 3])):
        definition = source.choice(list(DEFINITIONS.values()))
        if definition.parameter:
            env[PREFIX + definition.key] = value(source, str(definition.default))
    return env


def defaults_file(source: random.Random) -> str:
    """A file of settings, with lines that may be wrong."""
    lines = []
    for _ in range(source.choice([0, 0, 1, 2])):
        definition = source.choice(list(DEFINITIONS.values()))
        quote = source.choice(["", '"', "'"])
        lines.append(f"{definition.key}={quote}{value(source, str(definition.default))}{quote}\n")
    return "".join(lines)


def planned(env: dict[str, str], text: str) -> Context:
    """What a create would go by; raises ValueError or KitError for what is refused."""
    instance = Instance.from_environ(env)
    site = shellvars.parse(text, origin="defaults", known=env)
    parameters = {key: found for key, found in env.items() if key.startswith(PREFIX)}
    settings, _ = resolve([Layer("defaults", site), Layer("-O", parameters, parameters=True)])
    filled = {
        "suite": settings.suite or "bookworm",
        "arch": settings.arch or "amd64",
        "network_stack": "ifupdown" if settings.network_stack == "auto" else settings.network_stack,
        "kernel": "none" if settings.kernel == "none" else "linux-image-amd64",
    }
    made = Settings(**{**{name: getattr(settings, name) for name in DEFINITIONS}, **filled})
    sizes = {disk.index: 8192 * MIB for disk in instance.disks}
    numbers = iter(range(1, 1000))
    layout = plan_layout(
        instance, made, sizes, existing={}, new_uuid=lambda: UUID(int=next(numbers))
    )
    node = NodeFacts("node1", "bookworm", "amd64", Resolver((), ()), "Etc/UTC", None)
    return Context(instance, made, layout, node)


INTERFACES = re.compile(
    r"(#.*|source(-directory)? /etc/network/\S+|(auto|allow-hotplug) \S+( \S+)*"
    r"|iface \S+ (inet6? (static|dhcp|manual|loopback|auto))"
    r"|\s+[a-z][a-z0-9_-]*( .+)?|)"
)
NETWORKD = re.compile(r"(#.*|\[[A-Za-z0-9]+\]|[A-Za-z0-9]+=[^\n]*|)")
FSTAB = re.compile(r"(#.*|\S+ +\S+ +\S+ +\S+( +\d+ +\d+)?|\S+\t.*|)")
HOSTS = re.compile(r"(#.*|[0-9a-fA-F:.]+\s+[A-Za-z0-9._-]+( [A-Za-z0-9._-]+)*|)")
RESOLV = re.compile(r"(#.*|(nameserver|search|options|domain) \S.*|)")
NAME = re.compile(r"[A-Za-z0-9._-]+|")
SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (r"etc/network/interfaces(\.d/.*)?", INTERFACES),
    (r"etc/systemd/(network|resolved\.conf\.d|system)/.*", NETWORKD),
    (r"etc/fstab", FSTAB),
    (r"etc/hosts", HOSTS),
    (r"etc/resolv\.conf", RESOLV),
    (r"etc/(hostname|mailname|timezone)", NAME),
    (r"etc/default/locale", re.compile(r"LANG=[A-Za-z0-9_.@-]+|")),
    (r"etc/default/grub\.d/.*", re.compile(r"[^`]*")),
)


def require_shape(path: str, text: str) -> None:
    """No line of a rendered file is anything but what such a file may hold."""
    assert "\0" not in text and "\r" not in text and "\x1b" not in text, (path, text)
    for pattern, shape in SHAPES:
        if re.fullmatch(pattern, path):
            for line in text.split("\n"):
                assert shape.fullmatch(line), (path, line)
                assert line.isprintable() or "\t" in line, (path, line)


def render(context: Context) -> None:
    """Renders all that the built-in hooks write, and the layout."""
    *ours, _ = stages({}, {}, TOP)
    for hook in (hook for stage in ours for hook in stage):
        if hook.enabled(context):
            hook.packages(context)
            hook.check(context)
            for path, file in hook.render(context).items():
                require_shape(path, file.text)
    layout: Layout = context.layout
    for line in sfdisk_script("gpt", layout.label_uuid, layout.root.partitions).splitlines():
        assert re.fullmatch(r"[a-z-]+: [\w-]+|start=\d+, size=\d+, type=[\w-]+|", line), line


def attempt(source: random.Random) -> str:
    """One environment, to its end; gives the outcome."""
    try:
        render(planned(environment(source), defaults_file(source)))
    except SettingsError as error:
        outcome = " ".join(error.problems)
    except KitError as error:
        outcome = f"{error.message} {error.hint}"
    except ValueError as error:
        outcome = str(error)
    else:
        return "rendered"
    shown = oslog.mask_log_keywords(outcome)
    assert shown.isprintable() and not SEARCHED.search(shown), shown
    return re.sub(r"[^a-z ]+", "_", shown)[:60]


def run(seed: int, goes_on: Callable[[int], bool]) -> Counter[str]:
    """Tries environments as long as `goes_on`, asked with the number of each, says so."""
    outcomes: Counter[str] = Counter()
    number = 0
    while goes_on(number):
        number += 1
        try:
            outcomes[attempt(random.Random(seed * 1_000_003 + number))] += 1
        except BaseException:
            print(f"failed: --seed {seed}, number {number}", file=sys.stderr)
            raise
    return outcomes


def main() -> int:
    """Runs until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=1, help="of processor time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    deadline = time.process_time() + 60 * options.minutes
    outcomes = run(options.seed, lambda _number: time.process_time() < deadline)
    for outcome, times in outcomes.most_common(40):
        print(f"{times:9} {outcome}")
    print(f"{sum(outcomes.values())} environments, {len(outcomes)} outcomes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
