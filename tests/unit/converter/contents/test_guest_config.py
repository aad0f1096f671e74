from hypothesis import given, settings
from hypothesis import strategies as st

from converter.contents.guest_config import NETWORK, REFERRING, addresses, missing, references

ID = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"
OTHER = "99999999-77a8-4d0b-9f0c-3d3b8e6f4a11"


FSTAB = f"""# UUID=commented
UUID={ID.upper()} / ext4 defaults 0 1
  UUID="{OTHER}" none swap sw 0 0
LABEL=my\\040data /srv ext4 defaults,x-from=UUID=option 0 2
/dev/disk/by-partuuid/c0ffee01-05 /home ext4 defaults 0 2
PARTLABEL=opt /opt ext4 defaults 0 2
/dev/vda7 /mnt ext4 defaults 0 2
tmpfs /tmp tmpfs defaults 0 0

"""


def named(file: str, content: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.tag, one.value) for one in references(file, content)]


def test_what_fstab_names() -> None:
    assert named("/etc/fstab", FSTAB) == [
        (2, "UUID", ID.upper()),
        (3, "UUID", OTHER),
        (4, "LABEL", "my data"),
        (5, "PARTUUID", "c0ffee01-05"),
        (6, "PARTLABEL", "opt"),
    ]


def test_what_resume_and_kernel_command_lines_name() -> None:
    assert named("/etc/initramfs-tools/conf.d/resume", f"RESUME=UUID={OTHER}\n") == [
        (1, "UUID", OTHER)
    ]
    assert named("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/vda5\nRESUME=none\n") == []
    default = f'#x UUID=no\nGRUB_CMDLINE_LINUX="quiet resume=UUID={OTHER} root=PARTUUID=c0-01"\n'
    assert named("/etc/default/grub", default) == [(2, "UUID", OTHER), (2, "PARTUUID", "c0-01")]
    grub = f"""set root='hd0,msdos1'
  search --no-floppy --fs-uuid --set=root --hint='hd0,msdos1'  {ID}
linux /boot/vmlinuz root=UUID={OTHER} ro quiet
linux /boot/vmlinuz.old root=UUID={OTHER} ro single
search --label --set=root data
search --fs-uuid --set=root $rootuuid
"""
    assert named("/boot/grub/grub.cfg", grub) == [
        *[(2, "UUID", ID), (3, "UUID", OTHER)],
        (5, "LABEL", "data"),
    ]


def test_what_is_on_no_disk_is_missing() -> None:
    tags = {("UUID", ID), ("LABEL", "MY DATA"), ("PARTUUID", "C0FFEE01-05"), ("PARTLABEL", "opt")}
    found = missing(references("/etc/fstab", FSTAB), tags)
    assert [(one.file, one.line, one.tag) for one in found] == [
        ("/etc/fstab", 3, "UUID"),
        ("/etc/fstab", 4, "LABEL"),
    ]
    assert f'UUID="{OTHER}" none swap' in found[0].text


def given_to(file: str, content: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.interface, one.value) for one in addresses(file, content)]


def test_addresses_of_ifupdown() -> None:
    content = """auto lo eth0
iface lo inet loopback
iface eth0 inet static
    address 203.0.113.5
    gateway 203.0.113.1
    netmask 255.255.255.0
iface eth0 inet6 static
    address 2001:db8::5/64
iface ens3 inet dhcp
iface ens4 inet6 auto
iface ens5 inet static
    address nonsense
"""
    expected = [
        (4, "eth0", "203.0.113.5/24"),
        (8, "eth0", "2001:db8::5/64"),
        (9, "ens3", "dhcp"),
        (10, "ens4", "auto"),
    ]
    assert given_to("/etc/network/interfaces", content) == expected
    assert given_to("/etc/network/interfaces.d/eth0", content) == expected


def test_addresses_of_networkd() -> None:
    content = """[Match]
Name=ens3
[Network]
DHCP=yes
Address=203.0.113.5/24
[Address]
# Address=192.0.2.1/24
Address=2001:db8::5/64
[Network]
DHCP=no
"""
    assert given_to("/etc/systemd/network/10-lan.network", content) == [
        (4, "ens3", "dhcp"),
        (5, "ens3", "203.0.113.5/24"),
        (8, "ens3", "2001:db8::5/64"),
    ]


def test_addresses_of_network_manager() -> None:
    content = """[connection]
id=Wired
interface-name=ens3
[wifi-security]
psk=secret/24
[ipv4]
address1=203.0.113.5/24,203.0.113.1
method=manual
[ipv6]
method=auto
"""
    assert given_to("/etc/NetworkManager/system-connections/Wired.nmconnection", content) == [
        (7, "ens3", "203.0.113.5/24"),
        (10, "ens3", "auto"),
    ]


def test_addresses_of_netplan() -> None:
    content = """# made by cloud-init
network:
  version: 2
  ethernets:
    ens3:
      addresses: [203.0.113.5/24, "2001:db8::5/64"]
      nameservers:
        addresses: [192.0.2.53]
      routes:
        - to: 0.0.0.0/0
          via: 203.0.113.1
    ens4:
      addresses:
      - 203.0.113.6/24  # the other
      dhcp6: true
    ens5:
      dhcp4: no
  bridges:
    br0:
      addresses:
        - "203.0.113.7/24":
            label: br0:1
"""
    assert given_to("/etc/netplan/50-cloud-init.yaml", content) == [
        (6, "ens3", "203.0.113.5/24"),
        (6, "ens3", "2001:db8::5/64"),
        (14, "ens4", "203.0.113.6/24"),
        (15, "ens4", "dhcp6"),
        (21, "br0", "203.0.113.7/24"),
    ]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.sampled_from([*REFERRING, *NETWORK]),
    st.lists(
        st.text(max_size=20)
        | st.sampled_from(
            [
                "iface a inet static",
                "address",
                "netmask 1",
                "[ipv4]",
                "UUID=",
                'UUID="',
                "- :",
                "network:",
                "  ethernets:",
                "    a:",
                "      addresses: 1/99",
                "search --fs-uuid x",
            ]
        ),
        max_size=8,
    ),
)
def test_no_text_makes_the_parsers_fail(file: str, lines: list[str]) -> None:
    content = "\n".join(lines)
    references(file, content)
    addresses(file, content)
