"""The settings: one definition each, from which files, parameters, checks and manual come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from installer.settings import kinds
from installer.settings.kinds import Kind, choice, url, whole

T = TypeVar("T")

MIB = 1 << 20  # bytes: the unit of sizes among the settings


@dataclass(frozen=True)
class Definition:
    """All there is to know of one setting.

    Attributes:
        name: lower case, as OS parameters have it.
        kind: what values are allowed, and how they are read.
        default: the value of a setting that is unset or empty.
        about: one or two plain sentences.
        parameter: whether it may be given as an OS parameter. What names files of the node or code
            to run may not, nor what concerns all guests of the node, such as the cache: who may
            create instances need not be root on the nodes.
        empty: the value of an empty text, where that is not the default.
    """

    name: str
    kind: Kind[Any]
    default: Any
    about: str
    parameter: bool
    empty: Any

    @property
    def key(self) -> str:
        """The name in files."""
        return self.name.upper()

    def read(self, text: str) -> Any:
        """The value that a text stands for; raises ValueError with what is allowed."""
        stripped = text.strip()
        return self.kind.parse(stripped) if stripped else self.empty


_AS_DEFAULT: Any = object()
# Without a password: it would end up in the guest's apt sources, which all of its users may read.
_ARCHIVE = url(*("http", "https", "file"), example="http://mirror.example.org/debian", bare=True)


def _setting(
    kind: Kind[T], default: T, about: str, *, parameter: bool = True, empty: T = _AS_DEFAULT
) -> T:
    """A field of `Settings` that carries its definition; secret kinds stay out of the repr."""
    found: Mapping[str, Any] = {
        "kind": kind,
        "about": about,
        "parameter": parameter,
        "empty": default if empty is _AS_DEFAULT else empty,
    }
    return field(default=default, repr=not kind.secret, metadata=found)


def _hook(about: str, *, parameter: bool = True) -> bool:
    return _setting(kinds.YES_NO, True, about, parameter=parameter)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a site, a variant and a user want of a guest. Every value has been checked."""

    # What is installed
    suite: str = _setting(kinds.SUITE, "", "The release to install. Unset: the node's own release.")
    mirror: str = _setting(
        _ARCHIVE,
        "",
        "Where packages come from; a file: URL in files of the node only. Unset: the node's own "
        "mirror, or the default of the engine.",
    )
    security_mirror: str = _setting(
        kinds.or_word("none", _ARCHIVE),
        "",
        "Where security updates come from; a file: URL in files of the node only. none: the guest "
        "gets none. Unset: where the node has them from.",
    )
    components: tuple[str, ...] = _setting(
        kinds.COMPONENTS,
        (),
        "Components of the archive. Unset: main, and universe for Ubuntu.",
    )
    arch: str = _setting(
        kinds.ARCHITECTURE, "", "The architecture of the guest. Unset: the node's own."
    )
    proxy: str = _setting(
        kinds.PROXY,
        "",
        "A proxy for the downloads of the bootstrap. The guest does not keep it.",
        parameter=False,
    )
    extra_pkgs: tuple[str, ...] = _setting(
        kinds.PACKAGES, (), "Packages that are installed in addition."
    )
    base_pkgs: tuple[str, ...] = _setting(
        kinds.PACKAGES,
        (
            *("ca-certificates", "dbus", "iputils-ping", "less", "libcap2-bin", "libpam-systemd"),
            "vim-tiny",
        ),
        "Packages that every guest of this site gets. An empty value: none. Without dbus and "
        "libpam-systemd a guest does not heed the power button that gnt-instance shutdown presses.",
        empty=(),
    )
    kernel: str = _setting(
        kinds.KERNEL,
        "auto",
        "The kernel's package. auto: what fits the suite, and none where the hypervisor "
        "boots a kernel of its own.",
    )
    merged_usr: str = _setting(
        choice("auto", "yes", "no"),
        "auto",
        "Whether /bin, /sbin and /lib are links into /usr. auto: as the suite has it.",
    )
    bootstrap: str = _setting(
        choice("auto", "debootstrap", "mmdebstrap"),
        "auto",
        "The engine of the bootstrap. auto: mmdebstrap where the node has it.",
    )
    keyring: str = _setting(
        kinds.PATH,
        "",
        "A keyring file of the node that the archive's signature is verified with. "
        "Unset: the engine's choice.",
        parameter=False,
    )
    # The cache
    generate_cache: bool = _setting(
        kinds.YES_NO,
        True,
        "Whether new bootstraps are kept in the cache. Kept ones are used in either case.",
        parameter=False,
    )
    clean_cache: int | None = _setting(
        whole("a number of days, or empty for never", maximum=36500),
        14,
        "The age in days at which a kept bootstrap is thrown away. An empty value: never.",
        empty=None,
        parameter=False,
    )
    cache_size: int | None = _setting(
        whole("a number of MiB, or empty for no limit", minimum=1),
        4096,
        "The MiB that all kept bootstraps may take together; those that were not used for longest "
        "go first. An empty value: no limit.",
        empty=None,
        parameter=False,
    )
    upgrade: int | None = _setting(
        kinds.DAYS_OR_NO,
        1,
        "The age in days at which the packages of a kept bootstrap are upgraded in the new guest, "
        "so that it does not begin with known holes. What is kept does not change. Without an "
        "answer of the mirror the guest is made as it is, and the log says so. no, or an empty "
        "value: never.",
        empty=None,
    )
    cache_dir: str = _setting(
        kinds.PATH,
        "/var/cache/ganeti-instance-debootstrap",
        "The directory of the cache.",
        parameter=False,
    )
    # The disks
    partition_style: str = _setting(
        choice("msdos", "gpt", "none"),
        "msdos",
        "The partition table of disk 0. msdos: one bootable partition. gpt: BIOS boot, EFI "
        "system and root partition. none: a file system on the bare disk.",
    )
    partition_alignment: int = _setting(
        kinds.ALIGNMENT,
        kinds.MIN_ALIGNMENT,
        "The alignment of partitions in sectors of 512 bytes. GRUB needs the room before the "
        "first one.",
    )
    filesystem: str = _setting(
        choice("ext4", "xfs", "btrfs", "ext3", "ext2"),
        "ext4",
        "The file system of the root and of disks that are named after a mount point.",
    )
    swapfile_size: int = _setting(
        whole("a whole number of MiB", maximum=2**20),
        512,
        "The size in MiB of /swapfile, made where no disk is named swap. 0: none.",
    )
    # The network
    network_stack: str = _setting(
        choice("auto", "ifupdown", "networkd"),
        "auto",
        "What brings the network of the guest up. auto: networkd for Ubuntu, else ifupdown.",
    )
    dhcp: bool = _setting(
        kinds.YES_NO, True, "Whether network cards without an address from Ganeti use DHCP."
    )
    dns: tuple[str, ...] = _setting(
        kinds.ADDRESSES, (), "Resolvers of the guest. Unset: the node's upstream resolvers."
    )
    dns_search: tuple[str, ...] = _setting(
        kinds.DOMAINS, (), "Domains in which short names are looked up."
    )
    hostname: str = _setting(
        choice("fqdn", "short"),
        "fqdn",
        "Whether the host name of the guest is the whole name of the instance, or its first part.",
    )
    # The guest
    timezone: str = _setting(
        kinds.TIMEZONE, "", "The time zone of the guest. Unset: the node's own."
    )
    locale: str = _setting(kinds.LOCALE, "C.UTF-8", "The locale of the guest.")
    grub_timeout: int = _setting(
        whole("a number of seconds, 0 to 3600", maximum=3600),
        5,
        "How many seconds the menu of GRUB waits.",
    )
    password_expire: bool = _setting(
        kinds.YES_NO, True, "Whether root must change the random password at the first login."
    )
    authorized_keys: str = _setting(
        kinds.PATH,
        "/root/.ssh/authorized_keys",
        "The file of the node with the SSH keys that may log in to the guest as root.",
        parameter=False,
    )
    ssh_keys: tuple[str, ...] = _setting(
        kinds.SSH_KEYS,
        (),
        "SSH keys that may log in to the guest as root, besides those of AUTHORIZED_KEYS.",
    )
    user: str = _setting(
        kinds.USER,
        "",
        "A user to be made, who logs in with the same SSH keys as root and may do all by sudo. "
        "Unset: none.",
    )
    root_login: bool = _setting(
        kinds.YES_NO,
        True,
        "Whether root may log in over SSH, by key. no: USER only; root gets no keys.",
    )
    kernel_args: str = _setting(
        kinds.KERNEL_ARGUMENTS, "", "Arguments for the kernel that GRUB adds to its own."
    )
    guest_proxy: str = _setting(
        url("http", "https", example="http://proxy.example.org:3128", bare=True),
        "",
        "A proxy that apt uses in the guest.",
        parameter=False,
    )
    extra_sources: tuple[str, ...] = _setting(
        kinds.SOURCE_FILES,
        (),
        "Files of the node in the deb822-style format of sources.list(5) that guests get, with the "
        "keyrings that they name. The bootstrap does not use them.",
        parameter=False,
    )
    # Site files
    customize_dir: str = _setting(
        kinds.PATH,
        "/etc/ganeti/instance-debootstrap/hooks",
        "The directory of the site's hooks.",
        parameter=False,
    )
    variants_dir: str = _setting(
        kinds.PATH,
        "/etc/ganeti/instance-debootstrap/variants",
        "The directory of the variants' files. Read from the defaults file only.",
        parameter=False,
    )
    # Switches, one a hook
    hook_grub: bool = _hook("Whether GRUB is installed, with its menu on the serial console too.")
    hook_console: bool = _hook("Whether the guest answers on the serial console.")
    hook_password: bool = _hook("Whether root gets a random password, shown in the OS log.")
    hook_ssh: bool = _hook("Whether the guest gets an SSH server, and the OS log its host keys.")
    hook_authorized_keys: bool = _hook("Whether the keys of AUTHORIZED_KEYS are copied.")
    hook_user: bool = _hook("Whether the user of USER is made.")
    hook_apt: bool = _hook("Whether the guest gets GUEST_PROXY and EXTRA_SOURCES.")
    hook_swap: bool = _hook("Whether swap is made and used.")
    hook_network: bool = _hook("Whether the addresses that Ganeti states are configured.")
    hook_hostname: bool = _hook("Whether host name, mail name and /etc/hosts are written.")
    hook_machine_id: bool = _hook("Whether the machine ID is reset.")
    hook_timezone: bool = _hook("Whether the time zone is set.")
    hook_locale: bool = _hook("Whether the locale is set.")
    hook_tmp: bool = _hook("Whether /tmp is a tmpfs.")
    hook_grow: bool = _hook("Whether file systems grow with their disks at boot.")
    hook_site: bool = _hook("Whether the hooks of CUSTOMIZE_DIR are run.", parameter=False)


def _definitions() -> Iterator[Definition]:
    for found in fields(Settings):
        yield Definition(name=found.name, default=found.default, **found.metadata)


DEFINITIONS: Mapping[str, Definition] = {found.name: found for found in _definitions()}


def as_text(value: Any) -> str:
    """A value as files and parameters have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ("\n" if any(" " in item for item in value) else ",").join(value)
    return str(value)


def parameters_list() -> str:
    """Ganeti's parameters.list: a name and its description a line (ganeti-os-interface(7))."""
    return "".join(
        f"{found.name} {found.about} Allowed: {found.kind.allowed}. "
        f"Default: {as_text(found.default) or 'unset'}.\n"
        for found in DEFINITIONS.values()
        if found.parameter
    )
