import json

from converter.contents.guest_config import addresses, missing, references
from converter.contents.inspect import Findings, findings_json, findings_text

ID = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"
OTHER = "99999999-77a8-4d0b-9f0c-3d3b8e6f4a11"

FSTAB = f"""# UUID=commented
UUID={ID.upper()} / ext4 defaults 0 1
  UUID="{OTHER}" none swap sw 0 0
"""


def test_findings_are_shown() -> None:
    findings = Findings(
        tuple(missing(references("/etc/fstab", FSTAB), {("UUID", ID)})[:1]),
        tuple(addresses("/etc/network/interfaces", "iface eth0 inet dhcp\n")),
        ("x\x1b",),
    )
    assert findings_text(findings) == (
        f"/etc/fstab:3: UUID={OTHER} is on none of the disks given: "
        f'UUID="{OTHER}" none swap sw 0 0\n'
        "/etc/network/interfaces:1: eth0: dhcp\n"
        "warning: x\\x1b\n"
    )
    found = json.loads(json.dumps(findings_json(findings)))
    assert found["missing"][0]["line"] == 3
    assert found["addresses"][0]["interface"] == "eth0"
