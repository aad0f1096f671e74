import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.settings import DEFINITIONS, Settings, as_text, parameters_list
from installer.settings.kinds import masked, shown_without_password

FILES_ONLY = {
    "cache_dir",
    "cache_size",
    "clean_cache",
    "generate_cache",
    "customize_dir",
    "variants_dir",
    "authorized_keys",
    "keyring",
    "proxy",
    "hook_site",
    "guest_proxy",
    "extra_sources",
}


def test_every_default_is_allowed_and_reads_back():
    for definition in DEFINITIONS.values():
        text = as_text(definition.default)
        assert definition.read(text) == definition.default


def test_empty_values_mean_the_default_but_for_three():
    empty = {
        name: found.read(" ")
        for name, found in DEFINITIONS.items()
        if found.read(" ") != found.default
    }
    assert empty == {"clean_cache": None, "cache_size": None, "base_pkgs": (), "upgrade": None}


def test_what_names_files_or_code_of_the_node_is_no_parameter():
    assert {name for name, found in DEFINITIONS.items() if not found.parameter} == FILES_ONLY


def test_every_setting_is_explained_on_one_line():
    for definition in DEFINITIONS.values():
        assert definition.about.endswith(".")
        assert "\n" not in definition.about


def test_parameters_list_has_a_name_and_a_description_a_line():
    lines = parameters_list().splitlines()
    names = [line.split(None, 1)[0] for line in lines]
    assert set(names) == set(DEFINITIONS) - FILES_ONLY
    assert all(len(line.split(None, 1)) == 2 for line in lines)
    assert any(
        line.startswith("filesystem ") and line.endswith("ext3, ext2. Default: ext4.")
        for line in lines
    )


def test_settings_are_frozen_and_keep_urls_out_of_their_repr():
    settings = Settings(mirror="http://mirror.example.org/secret", proxy="http://u:p@h")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.suite = "sid"
    assert "secret" not in repr(settings)
    assert "u:p" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("suite", "bookworm", "bookworm"),
        ("suite", "oldstable-proposed-updates", "oldstable-proposed-updates"),
        ("mirror", "http://mirror.example.org/debian", "http://mirror.example.org/debian"),
        ("mirror", "https://[2001:db8::1]:8443/a@b", "https://[2001:db8::1]:8443/a@b"),
        ("proxy", "https://u:p@[2001:db8::1]:8443/", "https://u:p@[2001:db8::1]:8443/"),
        ("mirror", "file:///srv/mirror", "file:///srv/mirror"),
        ("proxy", "http://proxy.example.com:3128/", "http://proxy.example.com:3128/"),
        ("proxy", "proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("proxy", "u:p@proxy:3128/", "http://u:p@proxy:3128/"),
        ("components", "main,contrib non-free", ("main", "contrib", "non-free")),
        ("extra_pkgs", "vim, g++\nlibc6:i386,", ("vim", "g++", "libc6:i386")),
        ("kernel", "none", "none"),
        ("kernel", "linux-image-cloud-amd64", "linux-image-cloud-amd64"),
        ("generate_cache", "Yes", True),
        ("generate_cache", "off", False),
        ("dhcp", "0", False),
        ("upgrade", "0", 0),
        ("upgrade", "7", 7),
        ("upgrade", "No", None),
        ("kernel_args", "quiet\n mitigations=auto,nosmt", "quiet mitigations=auto,nosmt"),
        ("user", "ada", "ada"),
        ("extra_sources", "/a.sources, /b/c.sources", ("/a.sources", "/b/c.sources")),
        ("clean_cache", "0", 0),
        ("clean_cache", "", None),
        ("cache_size", "1", 1),
        ("cache_size", "", None),
        ("partition_alignment", "4096", 4096),
        ("partition_alignment", "63", 63),
        ("swapfile_size", "0", 0),
        ("dns", "192.0.2.1 2001:DB8::1", ("192.0.2.1", "2001:db8::1")),
        ("dns", "fe80::1%eth0", ("fe80::1%eth0",)),
        ("dns_search", "example.org,lan", ("example.org", "lan")),
        ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("timezone", "Etc/GMT+1", "Etc/GMT+1"),
        ("locale", "de_DE.UTF-8@euro", "de_DE.UTF-8@euro"),
        ("cache_dir", "/srv/cache//x/", "/srv/cache/x"),
    ],
)
def test_what_is_allowed(name, text, value):
    assert DEFINITIONS[name].read(text) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("suite", "Bookworm", "not a suite name"),
        ("suite", "../sid", "not a suite name"),
        ("suite", "-x", "not a suite name"),
        ("mirror", "mirror.example.org/debian", "not a URL"),
        ("mirror", "http:///debian", "not a URL"),
        ("mirror", "http://u:p@host/debian", r"not a URL .* without user and password"),
        ("mirror", "http://@host/debian", "not a URL"),
        ("security_mirror", "https://u@host/", "not a URL"),
        ("mirror", "http://host:port/", "not a URL"),
        ("mirror", "http://host/admin?", "not a URL .* query and fragment"),
        ("mirror", "http://host/admin#", "not a URL"),
        ("mirror", "http://host/ main", "not a URL"),
        ("mirror", "http://host/'x", "not a URL"),
        ("mirror", "http://[::1/", "not a URL"),
        ("mirror", "ftp://host/debian", "not a URL"),
        ("mirror", "file://host/debian", "not a URL"),
        ("proxy", "file:///x", "not a URL"),
        ("proxy", "socks5h://proxy.example.com:1080", "not a URL"),
        ("proxy", "ftp://proxy.example.com:3128", "not a URL"),
        ("proxy", "proxy.example.com", "not a URL"),
        ("proxy", "proxy.example.com:99999", "not a URL"),
        ("components", "main,--x", "'--x' is not a component name"),
        ("extra_pkgs", "vim,linux-image-amd64/sid", "'linux-image-amd64/sid' is not a package"),
        ("extra_pkgs", "--include", "'--include' is not a package"),
        ("extra_pkgs", "x", "'x' is not a package"),
        ("extra_pkgs", "vim nano-", "'nano-' is not a package"),
        ("extra_pkgs", "nano-:amd64", "'nano-:amd64' is not a package"),
        ("extra_pkgs", "lib.+", "'lib.+' is not a package"),
        ("security_mirror", "None", "not a URL .*, or none"),
        ("kernel", "Linux", "not auto, none or"),
        ("merged_usr", "maybe", "not one of auto, yes, no"),
        ("filesystem", "zfs", "not one of ext4, xfs, btrfs, ext3, ext2"),
        ("partition_style", "dos", "not one of msdos, gpt, none"),
        ("partition_alignment", "0", "not a multiple of 8 that is 2048"),
        ("partition_alignment", "2049", "not a multiple of 8 that is 2048"),
        ("generate_cache", "maybe", "not yes or no"),
        ("clean_cache", "-1", "not a number of days"),
        ("clean_cache", "two", "not a number of days"),
        ("clean_cache", "٣", "not a number of days"),
        ("cache_size", "0", "not a number of MiB"),
        ("cache_size", "4G", "not a number of MiB"),
        ("swapfile_size", "1G", "not a whole number of MiB"),
        ("grub_timeout", "3601", "not a number of seconds"),
        ("dns", "192.0.2.256", "'192.0.2.256' is not an IP address"),
        ("dns", "fe80::1%zone", "'fe80::1%zone' is not an IP address"),
        ("dns", "2001:db8::1%eth0", "'2001:db8::1%eth0' is not an IP address"),
        ("dns_search", "-x.org", "'-x.org' is not a domain name"),
        ("timezone", "../../etc/shadow", "not a time zone"),
        ("timezone", "/etc/shadow", "not a time zone"),
        ("timezone", "Europe/" + "x" * 300, "not a time zone"),
        ("locale", "x" * 65, "not a locale"),
        ("locale", "C.UTF-8;id", "not a locale"),
        ("upgrade", "yes", "not a number of days, or no"),
        ("upgrade", "-1", "not a number of days, or no"),
        ("kernel_args", 'dyndbg="file x"', "not arguments of letters"),
        ("kernel_args", "quiet;reboot", "not arguments of letters"),
        ("kernel_args", "a=$(id)", "not arguments of letters"),
        ("kernel_args", "a\\", "not arguments of letters"),
        ("kernel_args", "a=`id`", "not arguments of letters"),
        ("user", "Ada", "not a name of lower-case letters"),
        ("user", "root", "not a name of lower-case letters"),
        ("user", "www-data", "not a name of lower-case letters"),
        ("user", "systemd-oom", "not a name of lower-case letters"),
        ("user", "a" * 33, "not a name of lower-case letters"),
        ("user", "ada ALL=(ALL) ALL", "not a name of lower-case letters"),
        ("guest_proxy", "http://u:p@proxy.example.org:3128", "not a URL"),
        ("guest_proxy", 'http://proxy.example.org/";x "', "not a URL"),
        ("extra_sources", "/etc/apt/sources.list", "'/etc/apt/sources.list' is not an absolute"),
        ("extra_sources", "site.sources", "'site.sources' is not an absolute"),
        ("extra_sources", "/srv/../x.sources", "'/srv/../x.sources' is not an absolute"),
        ("ssh_keys", "hello", "line 1 is not a public key"),
        ("cache_dir", "cache", "not an absolute path"),
        ("customize_dir", "/etc/../x", "not an absolute path"),
    ],
)
def test_what_is_not_allowed(name, text, why):
    with pytest.raises(ValueError, match=f"^{why}"):
        DEFINITIONS[name].read(text)


@given(st.sampled_from(sorted(DEFINITIONS)), st.text(max_size=40))
def test_any_text_is_read_or_refused(name, text):
    definition = DEFINITIONS[name]
    try:
        value = definition.read(text)
    except ValueError:
        return
    assert definition.read(as_text(value)) == value or not text.strip()


@pytest.mark.parametrize(
    "text", ["http://u:secret@host/x", "http://u:s/secret@host", "u:secret@host", "a b:secret@c d"]
)
def test_passwords_are_masked(text):
    assert "secret" not in shown_without_password(DEFINITIONS["mirror"].kind, text)
    assert "secret" not in masked(f"cannot fetch {text}") or "://" not in text


def test_shown_values_stay_on_one_line():
    assert shown_without_password(DEFINITIONS["suite"].kind, "a\nb\x1b") == "a\\nb\\x1b"


def test_keys_are_not_shown_and_read_back():
    keys = DEFINITIONS["ssh_keys"]
    text = (
        "# team\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNFEqSd3eRuGkXBXo9UHaThZuSHG4ovr+6yEhmLJafs t"
    )
    assert shown_without_password(keys.kind, text) == "..."
    value = keys.read(f"{text}\n\n{text}\n")
    assert len(value) == 2
    assert keys.read(as_text(value)) == value
