import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import scheduling

TOP = Path(__file__).parents[3]
LOOP = "tests/system/node/devices/test_loop.py"


@pytest.mark.parametrize("path", scheduling.LONGEST)
def test_the_longest_modules_exist(path: str) -> None:
    assert (TOP / path).is_dir() if path in scheduling.TOGETHER else (TOP / path).is_file()


def test_what_shares_a_fixture_stays_together() -> None:
    for path in ("tests/e2e/test_gpt.py", "tests/system/converter/engine/test_kill.py"):
        assert scheduling.unit_of(f"{path}::test_x[a::b]") == path
    assert scheduling.unit_of("tests/e2e/lvm/test_convert.py::test_x") == "tests/e2e/lvm"
    assert scheduling.unit_of(f"{LOOP}::test_x[1]") == f"{LOOP}::test_x[1]"


def test_long_units_start_first() -> None:
    units = [
        *scheduling.LONGEST,
        "tests/e2e/test_gpt.py",
        "tests/system/converter/engine/test_kill.py",
        f"{LOOP}::test_x",
    ]
    shuffled = random.Random(1).sample(units, len(units))
    assert sorted(shuffled, key=scheduling.rank) == units


def test_each_worker_gets_the_longest_unit_that_waits() -> None:
    given: dict[str, list[str]] = {"gw0": [], "gw1": []}
    collection = [
        f"{LOOP}::test_x",
        f"{LOOP}::test_y",
        "tests/e2e/test_gpt.py::test_x",
        *(f"{scheduling.LONGEST[1]}::test_{n}" for n in range(4)),
        *(f"{scheduling.LONGEST[0]}/test_convert.py::test_{n}" for n in range(4)),
    ]

    class Worker:
        shutting_down = False

        def __init__(self, name: str) -> None:
            self.gateway = SimpleNamespace(id=name)

        def send_runtest_some(self, indexes: list[int]) -> None:
            given[self.gateway.id] += [collection[index] for index in indexes]

        def shutdown(self) -> None:
            self.shutting_down = True

    config = SimpleNamespace(
        getvalue=lambda _: ["popen"] * 2,
        option=SimpleNamespace(tx=["popen"] * 2, px=None, loadscopereorder=True),
    )
    chosen = scheduling.scheduler(config, None)
    for worker in (Worker("gw0"), Worker("gw1")):
        chosen.add_node(worker)
        chosen.add_node_collection(worker, collection)
    chosen.schedule()
    assert given["gw0"] == collection[-4:]
    assert given["gw1"] == collection[-8:-4]
