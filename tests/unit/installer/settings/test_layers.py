import pytest

from installer.settings import Settings
from installer.settings.layers import Layer, SettingsError, resolve

DEFAULTS = "/etc/default/x"


def parameters(**values):
    found = {f"OSP_{name.upper()}": text for name, text in values.items()}
    return Layer("OS parameters", found, parameters=True)


def problems(*layers):
    with pytest.raises(SettingsError) as caught:
        resolve(layers)
    return caught.value.problems


def test_no_layers_are_the_defaults():
    assert resolve([]) == (Settings(), [])


def test_the_highest_layer_wins():
    settings, warnings = resolve(
        [
            Layer(DEFAULTS, {"SUITE": "sid", "FILESYSTEM": "xfs", "ARCH": "i386"}),
            Layer("variant", {"SUITE": "trixie", "OSP_FILESYSTEM": "btrfs"}),
            parameters(filesystem="ext3"),
        ]
    )
    assert settings == Settings(suite="trixie", filesystem="ext3", arch="i386")
    assert warnings == []


def test_an_empty_value_hides_lower_layers():
    settings, _ = resolve(
        [Layer(DEFAULTS, {"MIRROR": "http://a.example.org/"}), Layer("v", {"MIRROR": ""})]
    )
    assert settings.mirror == ""


def test_unknown_keys_of_files_are_warned_about():
    files = {"FILESYTEM": "xfs", "suite": "sid", "BASE": "x", "LDAP_SERVER": "192.0.2.1"}
    _, warnings = resolve([Layer(DEFAULTS, files)])
    assert warnings == [
        f"{DEFAULTS}: unknown setting FILESYTEM (did you mean FILESYSTEM?)",
        f"{DEFAULTS}: unknown setting suite (did you mean SUITE?)",
        f"{DEFAULTS}: not settings, only passed to the site's hooks: BASE, LDAP_SERVER",
    ]


def test_every_problem_of_every_layer_is_named():
    assert problems(
        Layer(DEFAULTS, {"FILESYSTEM": "zfs", "MIRROR": "http://me:secret@ho st/"}),
        parameters(filesystem="ntfs", proxy="http://x:3128", filesytem="xfs", grub_timeout="x\ny"),
    ) == (
        f'{DEFAULTS}: FILESYSTEM="zfs": not one of ext4, xfs, btrfs, ext3, ext2',
        f'{DEFAULTS}: MIRROR="http://***@ho st/": not a URL (http:, https:, file:) '
        "like http://mirror.example.org/debian, without user and password, query and fragment",
        "-O filesystem=ntfs: not one of ext4, xfs, btrfs, ext3, ext2",
        "-O proxy: may only be set in files of the node",
        "-O filesytem: unknown parameter (did you mean filesystem?)",
        "-O grub_timeout=x\\ny: not a number of seconds, 0 to 3600",
    )


def test_a_suite_that_left_the_mirrors_needs_a_mirror():
    (problem,) = problems(Layer("v", {"SUITE": "buster"}))
    assert problem.startswith("suite buster has reached its end of life")
    mirror = {"MIRROR": "http://archive.example.org/debian"}
    settings, _ = resolve([Layer(DEFAULTS, mirror), Layer("v", {"SUITE": "buster"})])
    assert settings.suite == "buster"


@pytest.mark.parametrize("name", ["mirror", "security_mirror"])
def test_passwords_of_mirrors_are_refused_and_not_shown(name):
    url = "http://me:secret@mirror.example.org/debian"
    for layer in (Layer("v", {name.upper(): url}), parameters(**{name: url})):
        (problem,) = problems(layer)
        assert "without user and password" in problem
        assert "secret" not in problem
    assert resolve([Layer("v", {"PROXY": url})])[0].proxy == url


@pytest.mark.parametrize("name", ["mirror", "security_mirror"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:8108", "localhost", "[::1]", "169.254.169.254", "127.1"]
)
def test_parameters_cannot_name_what_only_the_node_reaches(name, host):
    url = f"http://{host}/admin"
    (problem,) = problems(parameters(**{name: url}))
    assert (
        problem == f"-O {name}={url}: the host is this node or on its link, which may only be set"
        " in files of the node"
    )
    settings, _ = resolve([Layer(DEFAULTS, {name.upper(): url})])
    assert getattr(settings, name) == url


@pytest.mark.parametrize("name", ["mirror", "security_mirror"])
@pytest.mark.parametrize("url", ["file:///srv/mirror", "FILE:/srv/mirror"])
def test_parameters_name_no_files_of_the_node_as_mirrors(name, url):
    (problem,) = problems(parameters(**{name: url}))
    assert problem == f"-O {name}={url}: file: URLs may only be set in files of the node"
    assert getattr(resolve([Layer("v", {name.upper(): url})])[0], name) == url


def test_parameters_do_not_touch_the_cache_of_others():
    assert problems(parameters(clean_cache="0", generate_cache="no")) == (
        "-O clean_cache: may only be set in files of the node",
        "-O generate_cache: may only be set in files of the node",
    )


def test_a_small_alignment_is_raised():
    settings, warnings = resolve([Layer(DEFAULTS, {"PARTITION_ALIGNMENT": "63"})])
    assert settings.partition_alignment == 2048
    assert warnings == [
        f'{DEFAULTS}: PARTITION_ALIGNMENT="63": raised to 2048 sectors (1 MiB), the space that '
        "GRUB needs"
    ]


def test_layers_do_not_show_their_values():
    assert "secret" not in repr(Layer("v", {"MIRROR": "http://u:secret@h/"}))
