"""What runs on the node, as seen from a namespace of our own."""

from pathlib import Path

import pytest

from node import ganeti, processes


def test_an_instance_that_runs_is_seen_from_another_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports and restores run in a PID namespace, whose /proc does not have its process."""
    (tmp_path / "kvm-hypervisor/pid").mkdir(parents=True)
    (tmp_path / "kvm-hypervisor/pid/web.example.org").write_text("42\n")
    (tmp_path / "outside/42").mkdir(parents=True)
    (tmp_path / "outside/42/cmdline").write_bytes(b"kvm\0-name\0web.example.org\0")
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(ganeti, "GANETI", tmp_path)
    monkeypatch.setattr(processes, "PROC", tmp_path / "inside")
    monkeypatch.setattr(processes, "_outside", processes._Outside())
    assert ganeti.kvm_process("web.example.org") is None
    processes.see_outside(tmp_path / "outside")
    assert ganeti.kvm_process("web.example.org") == 42
