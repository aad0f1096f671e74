from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from installer import debootstrap
from installer.bootstrap import mirrors
from installer.bootstrap.output import EngineOutput
from installer.bootstrap.per_guest.scrub import (
    prepare_empty_tree,
    remove_host_specifics,
    usr_directories,
)
from installer.bootstrap.plan import BootstrapPlan
from installer.debootstrap import choose_engine, keyrings
from installer.guest_tree import GuestTree
from installer.settings import Settings
from node.errors import CommandError, KitError


def installed(*programs: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in programs else None


def test_the_engine() -> None:
    both = installed("debootstrap", "mmdebstrap")
    assert choose_engine("auto", both) == "mmdebstrap"
    assert choose_engine("auto", installed("debootstrap")) == "debootstrap"
    assert choose_engine("debootstrap", both) == "debootstrap"
    with pytest.raises(KitError, match="mmdebstrap: not on this node"):
        choose_engine("mmdebstrap", installed("debootstrap"))
    with pytest.raises(KitError):
        choose_engine("auto", installed())


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(debootstrap, "KEYRINGS", tmp_path)
    monkeypatch.setattr(debootstrap, "REMOVED_KEYS", tmp_path / "removed.gpg")
    (tmp_path / "debian-archive-keyring.gpg").touch()
    (tmp_path / "removed.gpg").touch()
    return tmp_path


def test_keyrings(keys: Path) -> None:
    debian, removed = keys / "debian-archive-keyring.gpg", keys / "removed.gpg"
    assert keyrings("bookworm", "debian", "") == (debian,)
    assert keyrings("buster", "debian", "") == (debian, removed)
    assert keyrings("buster", "debian", str(removed)) == (removed,)


def test_without_keys_there_is_no_bootstrap(keys: Path) -> None:
    with pytest.raises(KitError, match="cannot be verified") as caught:
        keyrings("jammy", "ubuntu", "")
    # In Debian 12 there is neither this nor the older ubuntu-archive-keyring.
    assert caught.value.hint == (
        "apt-get install ubuntu-keyring (for bookworm it is in bookworm-backports only)"
    )
    with pytest.raises(KitError, match="/nowhere") as caught:
        keyrings("bookworm", "debian", "/nowhere")
    assert caught.value.hint == "correct KEYRING"
    armored = keys / "site.asc"
    armored.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEYC\n")
    with pytest.raises(KitError, match=r"site\.asc: it is ASCII-armored") as caught:
        keyrings("bookworm", "debian", str(armored))
    assert f"> {keys}/site.gpg" in caught.value.hint
    with pytest.raises(KitError, match="keys that sign it are not known"):
        keyrings("unheard-of", "", "")


@pytest.mark.usefixtures("keys")
def test_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debootstrap, "which", installed("debootstrap"))
    monkeypatch.setattr(mirrors, "read_node_entries", list)
    settings = Settings(suite="bookworm", arch="i386", mirror="http://mirror.example.org/debian")
    node = SimpleNamespace(architecture="amd64")
    plan = debootstrap.plan(settings, node, ["b", "a", "b"])  # type: ignore[arg-type]
    assert (plan.engine, plan.family, plan.packages) == ("debootstrap", "debian", ("a", "b"))
    assert (plan.components, plan.proxy) == (("main",), None)
    assert plan.mirrors.security == "http://mirror.example.org/debian-security"
    assert debootstrap.tools(plan) == ("debootstrap", "gpgv")


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debootstrap, "which", installed())
    node = SimpleNamespace(architecture="amd64")
    for settings, reason in (
        (Settings(suite="buster", arch="amd64"), "end of life"),
        (Settings(suite="bookworm", arch="amd64", merged_usr="no"), "merged /usr"),
        (Settings(suite="bookworm", arch="arm64"), "cannot run its programs"),
    ):
        with pytest.raises(KitError, match=reason):
            debootstrap.plan(settings, node, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["mmdebstrap", "debootstrap"])
@pytest.mark.parametrize("updates", [False, True])
def test_a_guest_gets_the_archives_that_are_there(
    local: BootstrapPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    updates: bool,
) -> None:
    monkeypatch.setattr(debootstrap, "_run_engine", lambda *_args: None)
    monkeypatch.setattr(debootstrap, "chroot", lambda *_args: nullcontext())
    if updates:
        index = tmp_path / "debian/dists/bookworm-updates/InRelease"
        index.parent.mkdir()
        index.touch()
    root = tmp_path / "guest"
    (root / "etc/apt").mkdir(parents=True)
    debootstrap.bootstrap(root, replace(local, engine=engine))
    written = (root / "etc/apt/sources.list").read_text()
    assert ("bookworm-updates" in written) is updates


def test_an_empty_guest_is_seeded(tmp_path: Path) -> None:
    prepare_empty_tree(tmp_path, links=usr_directories("amd64"))
    resume = tmp_path / "etc/initramfs-tools/conf.d/resume"
    assert resume.read_text() == "RESUME=none\n"
    links = {path.name for path in tmp_path.iterdir() if path.is_symlink()}
    assert links == {"bin", "lib", "lib32", "lib64", "libx32", "sbin"}
    assert (tmp_path / "bin").readlink() == Path("usr/bin") and (tmp_path / "usr/bin").is_dir()


SECRETS = (
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/apt/apt.conf.d/01proxy",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/udev/rules.d/70-persistent-net.rules",
    "root/.bash_history",
    "run/utmp",
    "run/lock/x",
    "tmp/x",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/archives/x.deb",
    "var/lib/apt/lists/mirror.example.org_debian_dists_bookworm_InRelease",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/log/apt/term.log",
    "var/log/bootstrap.log",
    "debootstrap/debootstrap.log",
)
KEPT = (
    "etc/ssh/sshd_config",
    "etc/apt/apt.conf.d/01autoremove",
    "tmp/lost+found",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/status",
    "var/log/wtmp",
)


def test_nothing_secret_or_of_the_host_stays(tmp_path: Path) -> None:
    for name in (*SECRETS, *KEPT, "etc/machine-id"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    remove_host_specifics(tmp_path)
    assert [name for name in SECRETS if (tmp_path / name).exists()] == []
    assert [name for name in KEPT if not (tmp_path / name).exists()] == []
    assert (tmp_path / "etc/machine-id").read_text() == ""


def test_scrubbing_follows_no_link_out_of_the_guest(tmp_path: Path) -> None:
    outside = tmp_path / "node"
    outside.mkdir()
    (outside / "term.log").touch()
    log = tmp_path / "guest/var/log"
    log.mkdir(parents=True)
    (log / "apt").symlink_to(outside)
    with pytest.raises(KitError, match="symlink"):
        remove_host_specifics(tmp_path / "guest")
    assert (outside / "term.log").exists()


def test_links_to_kernels_get_links_to_their_initramfs(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.2"):
        (boot / name).touch()
    (tmp_path / "vmlinuz").symlink_to("boot/vmlinuz-6.1")
    (tmp_path / "vmlinuz.old").symlink_to("boot/vmlinuz-6.2")
    (boot / "vmlinuz").symlink_to("vmlinuz-6.1")
    debootstrap.make_initramfs(GuestTree(tmp_path))
    assert (tmp_path / "initrd.img").readlink() == Path("boot/initrd.img-6.1")
    assert (boot / "initrd.img").readlink() == Path("initrd.img-6.1")
    assert not (tmp_path / "initrd.img.old").is_symlink()


FAILED = CommandError("debootstrap: failed", exit_code=1, stdout="", stderr="", hint="see above")


def test_a_full_disk_is_told_from_other_failures(local: BootstrapPlan, tmp_path: Path) -> None:
    output = EngineOutput(lambda _line: None)
    output("After this operation, 629 MB of additional disk space will be used.")
    output("E: Tried to extract package, but file already exists. Exit...")
    error = debootstrap._engine_error(FAILED, tmp_path, local, output)
    assert error.message == (
        "bootstrap of bookworm by mmdebstrap: E: Tried to extract package, but file already"
        " exists. Exit..."
    )
    own_log = tmp_path / "debootstrap/debootstrap.log"
    own_log.parent.mkdir()
    own_log.write_text("tar: ./usr/share: Cannot write: No space left on device\n")
    error = debootstrap._engine_error(FAILED, tmp_path, local, output)
    assert error.message.endswith("too small: the packages need more than 599.9 MiB")
    assert "/ has " in (error.hint or "")
