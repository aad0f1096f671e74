"""The definitions of all settings: files, OS parameters, checks and the manual are made of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from installer.settings import kinds
from installer.settings.kinds import Kind, choice, url, whole

T = TypeVar("T")

MIB = 1 << 20  # bytes: the unit of sizes among the settings


@dataclass(frozen=True)
class Definition:
    """One setting.

    Attributes:
        name: lower case, as in OS parameters.
        kind: which values are allowed, and how they are parsed.
        default: the value of a setting that is unset.
        about: the description for files and manuals, in plain sentences.
        parameter: whether it may be given as an OS parameter. Users who may create instances need
            not be root on the nodes. So settings that name files of the node or code to run are for
            files only, and settings that concern all guests of the node, such as the cache.
        empty: the value for an empty text.
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
        """Parses a text; raises ValueError that says which values are allowed."""
        stripped = text.strip()
        return self.kind.parse(stripped) if stripped else self.empty


_AS_DEFAULT: Any = object()
# No password: it would be in the guest's apt sources, which all of its users may read.
_ARCHIVE = url(*("http", "https", "file"), example="http://mirror.example.org/debian", bare=True)


def _setting(
    kind: Kind[T], default: T, about: str, *, parameter: bool = True, empty: T = _AS_DEFAULT
) -> T:
    """A field of `Settings` with its definition; the repr leaves out secret kinds."""
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
    """The checked settings of one guest, from the site, the variant and the OS parameters."""

    # What is installed
    suite: str = _setting(kinds.SUITE, "", "The release to install. Unset: the node's own release.")
    mirror: str = _setting(
        _ARCHIVE,
        "",
        "The mirror to install packages from. A file: URL is allowed in files of the node only. "
        "Unset: the node's own mirror, or the default of the bootstrap program.",
    )
    security_mirror: str = _setting(
        kinds.or_word("none", _ARCHIVE),
        "",
        "The mirror of security updates. A file: URL is allowed in files of the node only. none: "
        "the guest gets no security updates. Unset: the node's own, or the one that belongs to "
        "MIRROR.",
    )
    components: tuple[str, ...] = _setting(
        kinds.COMPONENTS,
        (),
        "Components of the archive. Unset: main, for Ubuntu also universe.",
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
        "Packages that are installed in every guest of this site. An empty value: none. Without "
        "dbus and libpam-systemd, a guest ignores the power button event of gnt-instance shutdown.",
        empty=(),
    )
    kernel: str = _setting(
        kinds.KERNEL,
        "auto",
        "The package of the kernel. auto: the one for the suite, or none if the hypervisor boots a "
        "kernel of the node.",
    )
    merged_usr: str = _setting(
        choice("auto", "yes", "no"),
        "auto",
        "Whether /bin, /sbin and /lib are links into /usr. auto: the default of the suite.",
    )
    bootstrap: str = _setting(
        choice("auto", "debootstrap", "mmdebstrap"),
        "auto",
        "The program that makes the bootstrap. auto: mmdebstrap if it is installed on the node, "
        "else debootstrap.",
    )
    keyring: str = _setting(
        kinds.PATH,
        "",
        "A keyring file of the node, to verify the archive's signature with. Unset: the keyring of "
        "the suite's distribution in /usr/share/keyrings.",
        parameter=False,
    )
    # The cache
    generate_cache: bool = _setting(
        kinds.YES_NO,
        True,
        "Whether new bootstraps are stored in the cache. Cached ones are used in either case.",
        parameter=False,
    )
    clean_cache: int | None = _setting(
        whole("a number of days, or empty for never", maximum=36500),
        14,
        "The age in days after which a cached bootstrap is deleted. An empty value: never.",
        empty=None,
        parameter=False,
    )
    cache_size: int | None = _setting(
        whole("a number of MiB, or empty for no limit", minimum=1),
        4096,
        "The maximum size in MiB of all cached bootstraps together. The least recently used ones "
        "are deleted first. An empty value: no limit.",
        empty=None,
        parameter=False,
    )
    upgrade: int | None = _setting(
        kinds.DAYS_OR_NO,
        1,
        "The age in days from which the packages of a cached bootstrap are upgraded in the new "
        "guest, to close known security holes. The cache is not changed. If the mirror does not "
        "answer, the packages are not upgraded, and the log says so. no, or an empty value: never.",
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
        "The alignment of partitions in sectors of 512 bytes. GRUB needs the space before the "
        "first partition.",
    )
    filesystem: str = _setting(
        choice("ext4", "xfs", "btrfs", "ext3", "ext2"),
        "ext4",
        "The file system of the root and of disks that are named after a mount point.",
    )
    swapfile_size: int = _setting(
        whole("a whole number of MiB", maximum=2**20),
        512,
        "The size in MiB of /swapfile, which is made if no disk is named swap. 0: no swap file.",
    )
    # The network
    network_stack: str = _setting(
        choice("auto", "ifupdown", "networkd"),
        "auto",
        "What configures the network in the guest. auto: networkd for Ubuntu, else ifupdown.",
    )
    dhcp: bool = _setting(
        kinds.YES_NO, True, "Whether network cards without an address from Ganeti use DHCP."
    )
    dns: tuple[str, ...] = _setting(
        kinds.ADDRESSES, (), "Name servers of the guest. Unset: the node's upstream name servers."
    )
    dns_search: tuple[str, ...] = _setting(
        kinds.DOMAINS, (), "Search domains of the guest. Unset: the node's."
    )
    hostname: str = _setting(
        choice("fqdn", "short"),
        "fqdn",
        "The host name of the guest. fqdn: the whole name of the instance. short: its first part.",
    )
    # The guest
    timezone: str = _setting(
        kinds.TIMEZONE, "", "The time zone of the guest. Unset: the node's own."
    )
    locale: str = _setting(kinds.LOCALE, "C.UTF-8", "The locale of the guest.")
    grub_timeout: int = _setting(
        whole("a number of seconds, 0 to 3600", maximum=3600),
        5,
        "How many seconds GRUB's menu waits.",
    )
    password_expire: bool = _setting(
        kinds.YES_NO, True, "Whether root must change the random password at the first login."
    )
    authorized_keys: str = _setting(
        kinds.PATH,
        "/root/.ssh/authorized_keys",
        "The file of the node with the SSH keys that may log in to the guest as root or as USER.",
        parameter=False,
    )
    ssh_keys: tuple[str, ...] = _setting(
        kinds.SSH_KEYS,
        (),
        "SSH keys that may log in to the guest, in addition to those of AUTHORIZED_KEYS.",
    )
    user: str = _setting(
        kinds.USER,
        "",
        "A user to create in the guest. This user logs in with the same SSH keys as root, and may "
        "run all commands with sudo. Unset: none.",
    )
    root_login: bool = _setting(
        kinds.YES_NO,
        True,
        "Whether root may log in over SSH, with a key. no: only USER may, and root gets no keys.",
    )
    kernel_args: str = _setting(
        kinds.KERNEL_ARGUMENTS, "", "Additional arguments that GRUB passes to the kernel."
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
        "Apt sources for guests: files of the node in the deb822-style format of sources.list(5). "
        "They and the keyrings that they name are copied. The bootstrap does not use them.",
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
    # Switches, one for each hook
    hook_grub: bool = _hook("Whether GRUB is installed, with its menu also on the serial console.")
    hook_console: bool = _hook("Whether the guest has a login prompt on the serial console.")
    hook_password: bool = _hook("Whether root gets a random password, shown in the OS log.")
    hook_ssh: bool = _hook(
        "Whether an SSH server is installed, and its host keys are shown in the OS log."
    )
    hook_authorized_keys: bool = _hook("Whether the keys of AUTHORIZED_KEYS are copied.")
    hook_user: bool = _hook("Whether USER is created.")
    hook_apt: bool = _hook("Whether GUEST_PROXY and EXTRA_SOURCES are configured in the guest.")
    hook_swap: bool = _hook("Whether swap is made and used.")
    hook_network: bool = _hook("Whether the addresses that Ganeti gives are configured.")
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
    """A value in the form that files and parameters use."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ("\n" if any(" " in item for item in value) else ",").join(value)
    return str(value)


def parameters_list() -> str:
    """Ganeti's parameters.list: per line a name and its description (ganeti-os-interface(7))."""
    return "".join(
        f"{found.name} {found.about} Allowed: {found.kind.allowed}. "
        f"Default: {as_text(found.default) or 'unset'}.\n"
        for found in DEFINITIONS.values()
        if found.parameter
    )
