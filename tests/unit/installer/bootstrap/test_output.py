from installer.bootstrap.output import EngineOutput


def shown(lines: list[str]) -> list[str]:
    seen: list[str] = []
    output = EngineOutput(seen.append)
    for line in lines:
        output(line)
    return seen


def test_packages_of_debootstrap_are_counted() -> None:
    lines = ["I: Retrieving InRelease ", "I: Resolving dependencies of base packages..."]
    lines += [f"I: Retrieving pkg{n} 1.0" for n in range(100)]
    lines += [f"I: Validating pkg{n} 1.0" for n in range(100)]
    lines += [f"I: Unpacking pkg{n}..." for n in range(50)]
    lines += [f"I: Configuring pkg{n}..." for n in range(49)]
    assert shown(lines) == [
        "I: Retrieving InRelease",
        "I: Resolving dependencies of base packages...",
        "downloaded 50 packages",
        "downloaded 100 packages",
        "unpacked 50 packages",
    ]


def test_packages_of_mmdebstrap_are_counted() -> None:
    uri = "http://mirror.example.org/debian"
    lines = [f"Get:1 {uri} bookworm InRelease [151 kB]", "I: downloading packages with apt..."]
    lines += [f"Get:{n} {uri} bookworm/main amd64 p amd64 1-1 [37.6 kB]" for n in range(50)]
    lines += [f"Unpacking pkg{n}:amd64 (1.0) ..." for n in range(50)]
    lines += [f"Setting up pkg{n} (1.0) ..." for n in range(50)]
    lines += ["Selecting previously unselected package x.", ""]
    assert shown(lines) == [
        "I: downloading packages with apt...",
        "downloaded 50 packages",
        "unpacked 50 packages",
        "set up 50 packages",
    ]


def test_the_most_telling_line_is_the_fault() -> None:
    output = EngineOutput(lambda _line: None)
    assert output.fault() is None
    for line in (
        "W: a warning",
        "E: Unable to locate package nonsense",
        "E: apt-get failed",
        "tar: x: Cannot write: No space left on device",
    ):
        output(line)
    assert output.fault() == "tar: x: Cannot write: No space left on device"
    assert len(output.tail()) == 4


def test_disk_usage_is_summed_up() -> None:
    output = EngineOutput(lambda _line: None)
    output("After this operation, 139 MB of additional disk space will be used.")
    output("After this operation, 1,543 kB of additional disk space will be used.")
    assert output.disk_usage() == 140_543_000


def test_apts_reason_stands_behind_what_failed() -> None:
    output = EngineOutput(lambda _line: None)
    for line in (
        "Err:5 http://mirror.example.org/debian bookworm/main amd64 x amd64 1.0",
        "  404  Not Found [IP: 192.0.2.1 80]",
        "E: Failed to fetch http://mirror.example.org/debian/pool/x.deb  404  Not Found",
        "E: Unable to fetch some archives",
    ):
        output(line)
    assert output.fault() == (
        "Err:5 http://mirror.example.org/debian bookworm/main amd64 x amd64 1.0:"
        " 404  Not Found [IP: 192.0.2.1 80]"
    )


def test_a_full_tmp_is_not_a_missing_signature() -> None:
    output = EngineOutput(lambda _line: None)
    for line in (
        "W: GPG error: http://x bookworm InRelease: Couldn't create temporary file /tmp/apt.conf.x",
        "E: The repository 'http://x bookworm InRelease' is not signed.",
    ):
        output(line)
    assert "Couldn't create temporary file" in str(output.fault())
