from installer.progress import Progress, harmless


def shown(lines: list[str]) -> list[str]:
    seen: list[str] = []
    progress = Progress(seen.append)
    for line in lines:
        progress(line)
    return seen


def test_the_words_that_users_look_for_are_kept_out() -> None:
    line = "SHA256 of the root password: configured eth0 with 192.0.2.1"
    assert harmless(line) == "SHA-256 of the password of root: eth0 configured with 192.0.2.1"
    assert shown(["I: root password is SHA256"]) == ["I: password of root is SHA-256"]


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
    progress = Progress(lambda _line: None)
    assert progress.fault() is None
    for line in (
        "W: a warning",
        "E: Unable to locate package nonsense",
        "E: apt-get failed",
        "tar: x: Cannot write: No space left on device",
    ):
        progress(line)
    assert progress.fault() == "tar: x: Cannot write: No space left on device"
    assert len(progress.tail()) == 4


def test_disk_usage_is_summed_up() -> None:
    progress = Progress(lambda _line: None)
    progress("After this operation, 139 MB of additional disk space will be used.")
    progress("After this operation, 1,543 kB of additional disk space will be used.")
    assert progress.disk_usage() == 140_543_000
