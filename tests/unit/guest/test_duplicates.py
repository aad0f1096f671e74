from guest.duplicates import shared_addresses
from tests.unit.guest.scenarios import BRIDGED, MAC, MAC2, nics


def test_each_shared_address_is_named_with_its_nics() -> None:
    same = BRIDGED | {"IP": "192.0.2.2"}
    assert shared_addresses(nics(same, same | {"MAC": MAC2}, same)) == (
        f"NICs 0 and 2 have the same MAC address {MAC}",
        "NICs 0 and 1 and 2 have the same address 192.0.2.2",
    )


def test_nics_without_addresses_share_none() -> None:
    assert shared_addresses(nics(BRIDGED, BRIDGED | {"MAC": MAC2})) == ()
