from pathlib import Path

import pytest

from importer import ganeti as importer_ganeti
from kit import instance_disks
from kit.import_.stopped import stopped
from kit.instance_disks import Disks, InstanceDisk
from kit.instance_disks import instance_disks as find
from node import cluster, ganeti, processes
from node.errors import KitError
from node.run import Result

WEB = "web.example.org"
HERE = "node1.example.org"


class Node:
    """A node whose Ganeti keeps its files below a directory."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top = top
        self.monkeypatch = monkeypatch
        for name in ("instance-disks", "bdev-cache", "kvm-hypervisor/pid", "ssconf", "disks"):
            (top / name).mkdir(parents=True)
        monkeypatch.setattr(ganeti, "GANETI", top)
        monkeypatch.setattr(cluster, "SSCONF", top / "ssconf")
        monkeypatch.setattr(cluster, "this_node", lambda: HERE)
        self.ssconf("master_node", "master.example.org")
        self.ssconf("instance_list", f"db.example.org\n{WEB}\n")

    def ssconf(self, key: str, text: str) -> None:
        (self.top / f"ssconf/ssconf_{key}").write_text(text)

    def disk(self, index: int, instance: str = WEB) -> Path:
        path = self.top / f"disks/{instance}.{index}"
        path.touch()
        (self.top / f"instance-disks/{instance}:{index}").symlink_to(path)
        self.cached(path).write_text(f"{instance} primary disk/{index}\n")
        return path

    def cached(self, path: Path) -> Path:
        """Ganeti's record of the owner of a path."""
        return self.top / f"bdev-cache/bdev_{str(path).replace('/', '_')}"

    def is_master(self, answer: str, exit_code: int = 0) -> list[list[str]]:
        """Makes it the master, with Ganeti's answer; returns the list of what Ganeti is asked."""
        asked: list[list[str]] = []

        def run(argv: list[str], **_options: object) -> Result:
            asked.append(argv)
            return Result(exit_code, answer, "")

        self.ssconf("master_node", HERE)
        self.monkeypatch.setattr(cluster, "run", run)
        return asked


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def refused(given: str = WEB) -> tuple[str, str]:
    with pytest.raises(KitError) as error:
        find(given)
    return error.value.message, error.value.hint


@pytest.mark.parametrize("given", [WEB, "web"])
def test_by_its_links_on_any_node(node: Node, given: str) -> None:
    paths = [node.disk(index) for index in range(11)]
    node.disk(0, "db.example.org")
    disks = tuple(InstanceDisk(index, None, path) for index, path in enumerate(paths))
    assert find(given) == Disks(WEB, disks, None)


def test_the_master_knows_names_of_disks_and_whether_it_runs(node: Node) -> None:
    paths = [node.disk(0), node.disk(1)]
    asked = node.is_master(f"{HERE}|running|2|-|swap\n")
    disks = (InstanceDisk(0, None, paths[0]), InstanceDisk(1, "swap", paths[1]))
    assert find("web") == Disks(WEB, disks, "Ganeti says: running")
    assert asked[0][-2:] == ["--output=pnode,status,disk.count,disk.name/0,disk.name/1", WEB]


def test_stopped_for_the_master(node: Node) -> None:
    node.disk(0)
    node.is_master(f"{HERE}|ADMIN_down|1|-\n")
    assert find(WEB).running is None


@pytest.mark.parametrize("answer", ["", "node|with|too|many|fields|\n"])
def test_a_master_that_does_not_answer(node: Node, answer: str) -> None:
    path = node.disk(0)
    node.is_master(answer, exit_code=0 if answer else 1)
    assert find(WEB).disks == (InstanceDisk(0, None, path),)


def test_no_disks_at_all(node: Node) -> None:
    node.is_master(f"{HERE}|ADMIN_down|0\n")
    assert find(WEB).disks == ()


def test_on_another_node(node: Node) -> None:
    node.is_master("node2.example.org|ADMIN_down|1\n")
    assert refused() == (
        f"disks of {WEB}: its primary node is node2.example.org, not this one ({HERE})",
        "run this on node2.example.org",
    )


def test_not_active(node: Node) -> None:
    message, hint = refused()
    assert message == f"disks of {WEB}: not active on this node ({HERE})"
    assert hint.startswith(f"on the master master.example.org: gnt-instance activate-disks {WEB};")
    node.is_master(f"{HERE}|ADMIN_down|1\n")
    assert refused()[1] == f"gnt-instance activate-disks {WEB}"


def test_some_links_are_missing(node: Node) -> None:
    node.disk(1)
    assert "only disk 1 active" in refused()[0]
    node.disk(0)
    node.is_master(f"{HERE}|ADMIN_down|3|-|-\n")
    assert "only disk 0, 1 active" in refused()[0]


def test_a_disk_that_is_gone(node: Node) -> None:
    node.disk(0).unlink()
    message, hint = refused()
    assert message.startswith(f"disk 0 of {WEB}: ")
    assert message.endswith(": No such file or directory")
    assert "activate-disks" in hint


def test_unknown_names(node: Node) -> None:
    assert refused("we") == (
        "instance we: Ganeti has none of that name",
        "gnt-instance list; a disk can be given by its path instead, with a slash in it",
    )
    assert "not a name" in refused("-x")[0]
    node.ssconf("instance_list", "a.x.org\na.y.org\n")
    assert "none of that name" in refused("a")[0]
    node.ssconf("master_node", "")
    assert "in no Ganeti cluster" in refused()[0]


def test_verbs_that_take_no_path_do_not_advise_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`import check` and `import renumber` need all disks of the instance."""
    monkeypatch.setattr(importer_ganeti, "of_this_node", lambda: None)

    def hint(given: str) -> str:
        with pytest.raises(KitError) as error, stopped(given):
            pass
        return error.value.hint

    assert hint("we") == "gnt-instance list"
    node.disk(0)
    monkeypatch.setattr("stat.S_ISBLK", lambda _mode: True)
    assert hint(WEB) == f"on the master: gnt-instance list -o name,pnode,status {WEB}"
    node.ssconf("master_node", "")
    assert hint(WEB) == "run this on a node of the cluster"


def test_a_link_that_stayed(node: Node) -> None:
    path = node.disk(0)
    node.cached(path).unlink()
    assert refused()[0] == f"disk 0 of {WEB}: {path}: it is not active any more"
    node.cached(path).write_text("db.example.org primary disk/0\n")
    assert refused()[0].endswith(f"{path}: it is a disk of db.example.org now")


@pytest.mark.parametrize("drbd", [False, True])
def test_volumes_and_drbd_are_of_one_node(
    node: Node, drbd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = node.disk(0)
    monkeypatch.setattr("stat.S_ISBLK", lambda _mode: True)
    monkeypatch.setattr(instance_disks, "volume_of", lambda _number: None if drbd else ("vg", "lv"))
    monkeypatch.setattr(instance_disks, "_is_drbd", lambda _number: drbd)
    assert find(WEB).disks[0].path == path


def test_other_block_devices_may_be_shared(node: Node) -> None:
    path = node.disk(0)
    node.monkeypatch.setattr("stat.S_ISBLK", lambda _mode: True)
    message, hint = refused()
    assert "may be on storage that nodes share" in message
    assert "gnt-instance list -o name,pnode,status" in hint
    node.is_master(f"{HERE}|ADMIN_down|1|-\n")
    assert find(WEB).disks[0].path == path


@pytest.mark.parametrize("key", ["shared_file_storage_dir", "gluster_storage_dir"])
def test_shared_files(node: Node, key: str) -> None:
    node.disk(0)
    node.ssconf(key, f"{node.top}/disks")
    assert "may be on storage that nodes share" in refused()[0]
    node.is_master(f"{HERE}|ADMIN_down|1|-\n")
    assert find(WEB).running is None


def test_a_running_qemu(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.disk(0)
    (node.top / "kvm-hypervisor/pid" / WEB).write_text("42\n")
    monkeypatch.setattr(processes, "PROC", node.top)
    assert find(WEB).running is None
    (node.top / "42").mkdir()
    (node.top / "42/cmdline").write_bytes(b"kvm\0-name\0db.example.org\0")
    assert find(WEB).running is None
    (node.top / "42/cmdline").write_bytes(b"kvm\0-name\0" + WEB.encode() + b",x=on\0")
    assert find(WEB).running == "its QEMU is process 42"
