"""The file of a plan: golden, and read again as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.domains.domain import SourceNic
from importer.plan import names
from importer.plan.file import PlanInvalid, parse, problems, render
from importer.plan.hypervisor import variables_file
from importer.plan.load import load
from importer.plan.model import DiskPlan, ImportPlan, NicPlan, Variables
from importer.plan.rules import Draft, Network
from node.errors import KitError
from tests.unit.importer.plan.planned import DOMAIN, MIB, UUID, drafted, of_domain

GOLDEN = Path(__file__).parents[3] / "data/golden/importer"
UEFI = of_domain(
    firmware="uefi",
    nvram="/var/lib/libvirt/qemu/nvram/web_VARS.fd",
    machine="pc-q35-7.2",
    cpu="host-passthrough",
    has_agent=True,
    nics=(*DOMAIN.nics, SourceNic("52:54:00:6b:3c:59", "e1000e", "br1")),
    cpu_features=("+vmx", "-hle"),
    losses=("disk vda: limits of I/O", "devices: screen (vnc; vnc_bind_address gives it one)"),
    has_secure_boot=True,
)


@pytest.mark.parametrize(
    ("name", "draft"),
    [
        ("plan-bios.toml", drafted()),
        (
            "plan-uefi.toml",
            drafted(
                UEFI,
                network=Network(networks=("gnt-fsn",), addresses=("198.51.100.7",), keep_macs=True),
                variables_size=540672,
            ),
        ),
    ],
)
def test_the_text_is_the_golden_one(name: str, draft: Draft) -> None:
    text = render(draft)
    assert text == (GOLDEN / name).read_text()
    assert parse(text) == draft.plan
    assert list(problems(draft.plan)) == []


def changed(old: str, new: str) -> str:
    text = render(drafted())
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("version = 1", "version = 2", "version: not 1"),
        ("version = 1", "", "version: not 1"),
        ("vcpus = 2", "vcpus = 2\nvcpu = 2", "vcpu: unknown"),
        ("vcpus = 2", "vcpus = true", "vcpus: not a whole number"),
        ("vcpus = 2", "vcpus = 0", "vcpus: not a number of CPUs"),
        ('memory = "2GiB"', 'memory = "lots"', "memory: lots: not a size"),
        ('memory = "2GiB"', "memory = 2048", "memory: not whole MiB.* is bytes: 2048MiB"),
        (
            'memory = "2GiB"',
            "memory = 1048577",
            "memory: not whole MiB.* without a unit is bytes: 2048MiB",
        ),
        ('domain = "web"', 'domain = "-web"', "domain: not a name"),
        ('domain = "web"', 'domain = "a/b"', "domain: not a name"),
        ('host = "kvm1', 'host = "-oProxyCommand=x', "host: not"),
        ('instance = "web', 'instance = "--force', "instance: not a name"),
        ('instance = "web', 'instance = "Web', "instance: not a name .*, in lower case"),
        ('instance = "web.example.org"', 'instance = "web.org."', "instance: not a name"),
        ('instance = "web.', 'instance = "web..', "instance: not a name"),
        ('node = "node1', 'node = ".node1', "node: not a name"),
        ('os = "deb', 'os = "+deb', "os: not a name"),
        ("[hypervisor]", '[hypervisor]\n"a,b" = "c"', "hypervisor.'a,b': not a parameter"),
        ("[hypervisor]", '[hypervisor]\nvga = "\\u0000"', "hypervisor.vga: not printable"),
        ("[hypervisor]", "[hypervisor]\nacpi = true", "hypervisor.acpi: not text"),
        ('"/srv/vmstore/web/web-root"', '"/srv/../etc/shadow"', r"disks\[0\].path: not an abs"),
        ('"/srv/vmstore/web/web-root"', '"srv"', r"disks\[0\].path: not an absolute path"),
        ('"/srv/vmstore/web/web-root"', '"/dev/kvmvg/web-lvm"', "disks: path .* twice"),
        ('target = "vda"', 'target = "vdb"', "disks: target vdb twice"),
        ('target = "vda"', 'target = "../a"', r"disks\[0\].target: not a disk's name"),
        ('format = "qcow2"', 'format = "vmdk"', "'vmdk' is none of these: qcow2, raw"),
        ("is_block = false", 'is_block = "no"', r"disks\[0\].is_block: not true or false"),
        ('lv = "web.example.org-root"', 'lv = "web.example.org-swap"', "disks: lv .*-swap twice"),
        ('lv = "web.example.org-root"', 'lv = "a,vg=b"', r"disks\[0\].lv: not a name"),
        ('lv = "web.example.org-root"', 'lv = "pvmove0"', r"disks\[0\].lv: not a name"),
        ('lv = "web.example.org-root"', 'lv = "a_mlog"', r"disks\[0\].lv: not a name"),
        ('lv = "web.example.org-root"', f'lv = "{"-" * 60}"', r"disks\[0\].lv: not a name"),
        ('vg = "vg_ganeti"', 'vg = "-v"', r"disks\[0\].vg: not a name"),
        ('volume_size = "20GiB"', 'volume_size = "19GiB"', "volume_size: smaller than the source"),
        ('volume_size = "20GiB"', "volume_size = 21474836481", "volume_size: not whole MiB"),
        ('swap_uuid = "', 'swap_uuid = "x', "swap_uuid: not a UUID"),
        ("swap_uuid", "#", "swap_label: without a swap_uuid"),
        ('swap_label = "swap"', f'swap_label = "{"é" * 9}"', "swap_label: not a label"),
        ('mac = "generate"', 'mac = "52:54:00"', "mac: neither generate nor"),
        ('network = "gnt-fsn"', 'link = "br0"', "ip: pool needs a network"),
        ('network = "gnt-fsn"', 'network = "a"\nlink = "b"', "link: the network decides it"),
        ('ip = "pool"', 'ip = "fe80::1%eth0"', "ip: neither pool nor an address"),
        ("[[nics]]", "[nics]", "nics: not a list"),
        ("[[nics]]", "[[nics]", "line"),
    ],
)
def test_an_invalid_plan_is_refused(old: str, new: str, why: str) -> None:
    with pytest.raises(PlanInvalid, match=why):
        parse(changed(old, new))


def test_all_that_is_wrong_in_a_file_is_named_at_once() -> None:
    text = render(drafted())
    for old, new in (
        ("vcpus = 2", 'vcpus = "2"\ncpus = 2'),
        ('uuid = "', '#uuid = "'),
        ('size = "20GiB"', 'size = "20Q"'),
        ("is_block = true", "is_block = 1"),
        ('old_mac = "', 'ip6 = "x"\nold_mac = "'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(PlanInvalid) as caught:
        parse(text)
    assert [each.partition(":")[0] for each in caught.value.problems] == [
        "disks[0].size",
        "cpus",
        "uuid",
        "vcpus",
        "disks[2].is_block",
        "nics[0].ip6",
    ]


def test_a_wrong_size_does_not_hide_other_problems_and_is_named_once() -> None:
    text = changed('memory = "2GiB"', 'memory = "2 GiB"').replace("vcpus = 2", "vcpus = 0")
    with pytest.raises(PlanInvalid) as caught:
        parse(text)
    assert [each.partition(":")[0] for each in caught.value.problems] == ["memory", "vcpus"]


def test_all_problems_are_named_at_once() -> None:
    plan = replace(drafted().plan, host="", vcpus=0, uuid="x", disks=())
    assert [each.partition(":")[0] for each in problems(plan)] == [
        "host",
        "uuid",
        "vcpus",
        "disks",
    ]


@pytest.mark.parametrize(
    "file", ["/usr/share/OVMF/OVMF_VARS.fd", "/var/lib/ganeti-instance-kit/nvram/mail.fd", "x"]
)
def test_variables_are_written_to_a_file_of_the_instance_only(file: str) -> None:
    """An import that is aborted removes it."""
    own = "/var/lib/ganeti-instance-kit/nvram/web.example.org.fd"
    plan = drafted(UEFI, variables_size=540672).plan
    assert not list(problems(replace(plan, variables=Variables("/a b,c", own))))
    odd = replace(plan, variables=Variables("/a b,c", file))
    assert list(problems(odd)) == [f"variables.file: not {own}"]


def test_a_renamed_instance_has_variables_of_its_own() -> None:
    """QEMU would be given the file of the name before, which may be that of another instance."""
    draft = drafted(UEFI, variables_size=540672)
    text = render(draft).replace('instance = "web.', 'instance = "new.')
    text = text.replace(
        'file = "/var/lib/ganeti-instance-kit/nvram/web.',
        'file = "/var/lib/ganeti-instance-kit/nvram/new.',
    )
    with pytest.raises(
        PlanInvalid, match=r"^hypervisor.kvm_extra: does not name .*/new\.exa[^;]*$"
    ):
        parse(text)


def test_a_size_may_be_a_number_or_have_a_unit() -> None:
    assert parse(changed('memory = "2GiB"', "memory = 1073741824")).memory == 1 << 30
    assert parse(changed('memory = "2GiB"', 'memory = "512MiB"')).memory == 512 * MIB


def test_comments_cannot_become_lines_of_the_file() -> None:
    draft = drafted()
    noted = replace(draft, notes={"hypervisor": ('x\n[[disks]]\ntarget = "vdz"',)})
    assert parse(render(noted)) == draft.plan


def test_a_file_that_cannot_be_read_is_an_error_for_users(tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes(b"host = '\xe9'")
    (tmp_path / "bad").write_text("version = 1")
    for name in ("latin1", "bad", "missing"):
        with pytest.raises(KitError, match="plan "):
            load(tmp_path / name)


word = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,10}", fullmatch=True)
instances = st.from_regex(r"[a-z0-9_][a-z0-9-]{0,10}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True)
paths = st.lists(
    st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=8), min_size=1
).map(lambda parts: "/" + "/".join(part.replace("/", "_") for part in parts))
macs = st.lists(st.integers(0, 255), min_size=6, max_size=6).map(
    lambda numbers: ":".join(f"{number:02x}" for number in numbers)
)


@st.composite
def plans(draw: st.DrawFn) -> ImportPlan:
    count = draw(st.integers(1, 4))
    disks = []
    for number in range(count):
        size = draw(st.integers(1, 1 << 50))
        swap = draw(st.booleans())
        disks.append(
            DiskPlan(
                target=f"vd{'abcd'[number]}",
                path=draw(paths) + str(number),
                format=draw(st.sampled_from(("qcow2", "raw"))),
                is_block=draw(st.booleans()),
                size=size,
                vg=draw(word),
                lv=f"{draw(word)}{number}",
                volume_size=-(-size // MIB) * MIB,
                swap_uuid=str(draw(st.uuids())) if swap else None,
                swap_label=draw(st.sampled_from(("", "swap", 'a"\\b', "é"))) if swap else None,
            )
        )
    instance = draw(instances)
    variables = draw(st.none() | st.just(Variables("/v", variables_file(instance))))
    hypervisor = draw(
        st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
            st.text().filter(str.isprintable),
        )
    )
    if variables is not None:
        hypervisor["kvm_extra"] = f"-drive file={variables.file}"
    return ImportPlan(
        host=draw(word),
        domain=draw(
            st.text(st.characters(blacklist_categories=("C",), blacklist_characters="/")).filter(
                names.is_domain
            )
        ),
        uuid=str(draw(st.uuids())),
        instance=instance,
        node=draw(word),
        os=draw(word),
        vcpus=draw(st.integers(1, 4096)),
        memory=draw(st.integers(1, 1 << 20)) * MIB,
        disks=tuple(disks),
        nics=tuple(
            NicPlan(mac, "generate", draw(word), None, "pool")
            for mac in draw(st.lists(macs, max_size=3, unique=True))
        ),
        hypervisor=hypervisor,
        variables=variables,
    )


@given(plans())
def test_every_valid_plan_is_read_as_it_was_written(plan: ImportPlan) -> None:
    if list(problems(plan)):  # names that LVM reserves
        return
    assert parse(render(Draft(plan))) == plan


@given(st.text())
def test_any_text_is_a_plan_or_refused(text: str) -> None:
    with pytest.raises(PlanInvalid):
        parse(text)


@given(st.sampled_from(render(drafted()).splitlines()), st.text(max_size=5), st.integers(0, 30))
def test_any_change_of_a_line_is_a_valid_plan_or_refused(line: str, extra: str, at: int) -> None:
    text = render(drafted()).replace(line, line[:at] + extra + line[at + 1 :], 1)
    try:
        plan = parse(text)
    except PlanInvalid:
        return
    assert list(problems(plan)) == []
    assert plan.uuid != UUID or parse(render(Draft(plan))) == plan
