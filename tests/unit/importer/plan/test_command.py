"""The exact commands for Ganeti."""

from dataclasses import replace

from importer.plan import command
from tests.unit.importer.plan.planned import drafted

PLAN = drafted().plan


def test_the_instance_adopts_the_volumes_in_the_order_of_the_plan() -> None:
    assert command.add(PLAN) == [
        "gnt-instance",
        "add",
        "--disk-template=plain",
        "--node=node1.example.org",
        "--disk=0:adopt=web.example.org-root,vg=vg_ganeti",
        "--disk=1:adopt=web.example.org-swap,vg=vg_ganeti",
        "--disk=2:adopt=web.example.org-lvm,vg=vg_ganeti_hdd",
        "--net=0:mac=generate,network=gnt-fsn,ip=pool",
        "--backend-parameters=memory=2048m,vcpus=2",
        "--hypervisor-parameters=kvm:boot_order=disk,cpu_type=Skylake-Server-IBRS,"
        "disk_type=paravirtual,kernel_path=,machine_version=pc-i440fx-7.2,"
        "nic_type=paravirtual,serial_console=True",
        "--os-type=debootstrap+default",
        "--tags=imported-from:kvm1.example.org/web,"
        "imported-from:6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10",
        "--no-start",
        "--no-name-check",
        "--no-ip-check",
        "web.example.org",
    ]


def test_a_rehearsal_is_the_same_command_without_its_effects() -> None:
    add, rehearse = command.add(PLAN), command.rehearse(PLAN)
    assert rehearse[:3] == ["gnt-instance", "add", "--dry-run"] and rehearse[-1] == add[-1]
    # Where it is started is not known yet: it may fail over to another node before.
    assert not set(add) - set(rehearse)


def test_an_instance_without_nics_and_parameters() -> None:
    argv = command.add(replace(PLAN, nics=(), hypervisor={}))
    assert "--no-nics" in argv and "--hypervisor-parameters=kvm" in argv
    assert not any(word.startswith("--net=") for word in argv)


def test_commas_and_backslashes_of_parameters_are_escaped() -> None:
    argv = command.add(replace(PLAN, hypervisor={"kvm_extra": r"-drive a=b,c=d\e"}))
    assert r"--hypervisor-parameters=kvm:kvm_extra=-drive a=b\,c=d\\e" in argv


def test_a_tag_has_only_what_ganeti_allows() -> None:
    first, _ = command.tags(
        replace(PLAN, host="root@kvm1.example.org", domain="wéb, one" + "x" * 99)
    )
    assert first == ("imported-from:kvm1.example.org/w_b__one" + "x" * 99)[:128]


def test_conversion_failover_and_start() -> None:
    assert command.convert("web.example.org", None) == [
        *("gnt-instance", "modify", "--disk-template=drbd", "web.example.org")
    ]
    assert command.convert("web.example.org", "node2.example.org") == [
        *("gnt-instance", "modify", "--disk-template=drbd"),
        *("--node=node2.example.org", "web.example.org"),
    ]
    assert command.fail_over("web") == ["gnt-instance", "failover", "--force", "web"]
    assert command.start("web") == ["gnt-instance", "startup", "web"]
