"""The goals of the converter's bench, its tables, and where its images have their data."""

import pytest

from bench import goals
from bench.goals import Cell, Figures
from bench.layout import CLUSTER, layout

MIB = 2**20


def figures(**seconds: float) -> dict[str, Figures]:
    names = {"ours": goals.OURS, "verified": goals.VERIFIED, "qemu": goals.PLAIN_PEER}
    return {
        names.get(name, name.replace("_", " ")): Figures(time, time / 2, 60 * MIB)
        for name, time in seconds.items()
    }


def test_plain_is_measured_by_the_best_peer_the_limit_and_qemu_img() -> None:
    medians = figures(ours=1.0, verified=1.8, qemu=2.9, nbdcopy=0.96, limit_1=0.9, limit_2=0.87)
    found = goals.verdicts(Cell("plain", "cold", "clean"), medians)
    assert [(v.what, round(v.ratio, 2), v.met) for v in found] == [
        ("time / best peer (nbdcopy)", 1.04, True),
        ("time / limit (limit 2)", 1.15, True),
        ("times faster than qemu-img convert", 2.9, False),
        ("time with --verify / without", 1.8, False),
    ]


@pytest.mark.parametrize(
    ("image", "cache", "peer", "met"),
    [
        ("zlib", "cold", 1.5, True),
        ("zlib", "cold", 1.49, False),
        ("zlib", "warm", 2.2, True),
        ("zlib", "warm", 2.19, False),
        ("zstd", "cold", 1.1, True),
        ("zstd", "cold", 1.09, False),
        ("zstd", "warm", 1.3, True),
        ("zstd", "warm", 1.29, False),
        ("empty", "warm", 1.0, True),
        ("empty", "warm", 0.99, False),
    ],
)
def test_goal_is_met_from_its_figure_on(image: str, cache: str, peer: float, met: bool) -> None:
    medians = figures(ours=1.0, qemu=peer + 1, qemu_img_wb=peer + 1, nbdcopy_tuned=peer)
    found = goals.verdicts(Cell(image, cache, "dirty"), medians)
    assert found[0].met is met
    assert "nbdcopy tuned" in found[0].what


def test_cpu_is_compared_with_the_fastest_peer_not_the_thriftiest() -> None:
    medians = {
        goals.OURS: Figures(1.0, 2.1, MIB),
        "qemu-img": Figures(3.0, 4.0, MIB),
        "nbdcopy": Figures(2.5, 4.2, MIB),
    }
    found = goals.verdicts(Cell("zlib", "cold", "clean"), medians)
    assert [(v.what, v.met) for v in found][1:] == [("CPU / best peer (nbdcopy)", True)]


def test_nothing_is_judged_without_ours() -> None:
    medians = {Cell("plain", "cold", "clean"): figures(qemu=1.0, limit_1=1.0)}
    assert goals.rows(medians) == []


@pytest.mark.parametrize(("peak", "verdict"), [(128 * MIB - 1, "met"), (128 * MIB, "missed")])
def test_memory_counts_verifying_runs_and_all_cells(peak: int, verdict: str) -> None:
    medians = {
        Cell("zlib", "cold", "clean"): {goals.VERIFIED: Figures(1.0, 1.0, peak)},
        Cell("empty", "cold", "clean"): {
            goals.OURS: Figures(1.0, 1.0, MIB),
            "nbdcopy": Figures(1.0, 1.0, 900 * MIB),
        },
    }
    assert goals.rows(medians)[-1] == f"peak memory 128 MiB, goal < 128 MiB: {verdict}"


def test_matrix_has_a_dash_for_what_did_not_run() -> None:
    medians = {
        Cell("plain", "cold", "clean"): figures(ours=1.25, limit_1=1.0),
        Cell("empty", "warm", "dirty"): figures(ours=0.5),
    }
    lines = goals.matrix(medians, lambda one: f"{one.seconds:.2f}")
    assert [line.split() for line in lines] == [
        ["ours", "limit", "1"],
        ["plain", "cold", "clean", "1.25", "1.00"],
        ["empty", "warm", "dirty", "0.50", "-"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("size", "data"), [(20 * 1024, 2560), (4096, 512), (100 * 1024, 64)])
def test_layout_has_all_its_data_in_whole_clusters_that_do_not_overlap(
    size: int, data: int
) -> None:
    ranges, dense = layout(size * MIB, data * MIB)
    assert sum(length for _, length in ranges) == data * MIB
    assert all(start % CLUSTER == length % CLUSTER == 0 < length for start, length in ranges)
    ends = [0, *(start + length for start, length in ranges)]
    assert all(end <= start for end, (start, _) in zip(ends, ranges, strict=False))
    assert ends[-1] <= size * MIB
    assert dense < size * MIB // 2
