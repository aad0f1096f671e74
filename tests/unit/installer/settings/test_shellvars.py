import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.settings.shellvars import lines, parse


def read(text, **known):
    return parse(text, origin="file", known=known)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n  # comment\n\t\n", {}),
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=1 # comment", {"A": "1"}),
        ("A=1#2", {"A": "1#2"}),
        ("A=#2", {"A": "#2"}),
        ("A=1;# comment\nB=2", {"A": "1", "B": "2"}),
        ("A=1 B=2;C=3 ; D=4;", {"A": "1", "B": "2", "C": "3", "D": "4"}),
        ("A=1\nA=2", {"A": "2"}),
        ('A="x y"', {"A": "x y"}),
        ("A='x \"$y\" \\'", {"A": 'x "$y" \\'}),
        ("A=a\"b c\"'d e'f", {"A": "ab cd ef"}),
        ('A="a\nb"', {"A": "a\nb"}),
        (r'A="\$ \` \" \\ \n"', {"A": '$ ` " \\ \\n'}),
        (r"A=a\ b\"c\$d\\", {"A": 'a b"c$d\\'}),
        ("A=ab\\\ncd", {"A": "abcd"}),
        ('A="ab\\\ncd"', {"A": "abcd"}),
        ("A='ab\\\ncd'", {"A": "ab\\\ncd"}),
        ("A=1 \\\n  B=2", {"A": "1", "B": "2"}),
        ("# no \\\nA=1", {"A": "1"}),
        ("export A=1 B C=3\nexport A", {"A": "1", "C": "3"}),
        ("export\tA='x'", {"A": "x"}),
        ("exported=1", {"exported": "1"}),
        ('A=x\nB="$A,${A}y $Z."', {"A": "x", "B": "x,xy ."}),
        ("B=$K,${K}", {"B": "known value,known value"}),
        ("A='$K'", {"A": "$K"}),
        ('K="$K,vim"', {"K": "known value,vim"}),
        ('A="cost: 5$"', {"A": "cost: 5$"}),
        ("A=$ B=$,", {"A": "$", "B": "$,"}),
        ("A=*[a]{b,c}=~!", {"A": "*[a]{b,c}=~!"}),
        ('A="~/x"', {"A": "~/x"}),
        (': "${A:=x y}"', {"A": "x y"}),
        (": ${A:=x y}", {"A": "x y"}),
        (': ${A:="x}" } ', {"A": "x} "}),
        (': ${A:="x}"}', {"A": "x}"}),
        (": ${A:=} ${B:='b'} # c", {"A": "", "B": "b"}),
        ("A=1\n: ${A:=2}", {"A": "1"}),
        ("A=\n: ${A:=2}", {"A": "2"}),
        ("A=\n: ${A=2}", {"A": ""}),
        (": ${K:=x}", {}),
        (': "${A:=$K}"', {"A": "known value"}),
        (': "${A:=\\$ \\}}"', {"A": "$ }"}),
        ("A=${B:-x} C=${K:-x}", {"A": "x", "C": "known value"}),
        ("B=\nA=${B:-x y} C=${B-x}", {"B": "", "A": "x y", "C": ""}),
        ('A="${B:-a $K}" C=${B-"q  q"}\'}\'', {"A": "a known value", "C": "q  q}"}),
        ('A="${B:-${C-${K}}}z"', {"A": "known valuez"}),
        (": ${A:=${B:-x}}", {"A": "x"}),
        ('A=${B:-}"${B-}"', {"A": ""}),
        (":", {}),
        ("A=ü€", {"A": "ü€"}),
    ],
)
def test_what_a_shell_would_assign(text, expected):
    assert read(text, K="known value") == expected


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("A=1\nrm -rf /", 2, "'rm' is not an assignment"),
        ("A=$(id)", 1, "not run"),
        ('\n\nA="x\n$(id)"', 4, "not run"),
        ("A=$((1+1))", 1, "not run"),
        ("A=$[1+1]", 1, "not run"),
        ("A=`id`", 1, "not run"),
        ('A="`id`"', 1, "not run"),
        ("if true; then\nA=1\nfi", 1, "'if' is not an assignment"),
        ("for x in a; do :; done", 1, "not an assignment"),
        ("A=1 touch x", 1, "'touch' is not an assignment"),
        ("A+=x", 1, r"A\+= is not supported"),
        ("A =1", 1, "not an assignment"),
        ("1A=1", 1, "not an assignment"),
        ("A=(a b)", 1, r"'\('"),
        ("A=1&", 1, "'&'"),
        ("A=1|B=2", 1, "'|'"),
        ("A=1 > file", 1, "not an assignment"),
        ("A=1>file", 1, "'>'"),
        ("A=1;;B=2", 1, "';'"),
        (";", 1, "';'"),
        ('A=1\nB="x\ny', 2, "without a closing"),
        ("A='x\n", 1, "without a closing"),
        ("A=x\\", 1, "backslash"),
        ("A=${B", 1, "only"),
        ("A=${B:+x}", 1, "only"),
        ("A=${B?x}", 1, "only"),
        ("A=${B:-$(id)}", 1, "not run"),
        ("A=${B:-x", 1, "}"),
        ('A="${B:-x"', 1, "shells"),
        ("A=${#B}", 1, "only"),
        ("A=$\\\nB", 1, "line ends"),
        ('A="$B\\\nC"', 1, "line ends"),
        ("A=$1", 1, "not supported"),
        ('A="$@"', 1, "not supported"),
        ("A=$'x'", 1, "shells differ"),
        ("A=~/x", 1, "~"),
        ("A=x:~/x", 1, "~"),
        ("A=\\\n~/x", 2, "~"),
        ("A=1\r\n", 1, "DOS"),
        ("\nA=\0", 2, "NUL"),
        (": ${A:-x}", 1, "only"),
        (": $A", 1, "only"),
        (": ${A:=x}y", 1, "only"),
        (": ${A:=x", 1, "}"),
        (': "${A:=x"', 1, "shells"),
        (': "${A:=it\'s}"', 1, "shells"),
        ("export -p", 1, "not an assignment"),
        (". /etc/os-release", 1, "not an assignment"),
    ],
)
def test_what_is_refused(text, line, why):
    with pytest.raises(ValueError, match=f"^file, line {line}: .*{why}"):
        read(text)


VALUES = st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=["Cs"]))


@given(st.lists(st.tuples(st.sampled_from("ABC"), VALUES)))
def test_quoted_values_come_back(pairs):
    text = "\n".join(f"{name}={shlex.quote(value)}" for name, value in pairs)
    assert read(text) == dict(pairs)


@given(VALUES, VALUES)
def test_double_quoted_values_come_back(value, more):
    escaped = "".join("\\" + char if char in '\\"$`' else char for char in value)
    found = read(f'A="{escaped}"; B="$A,${{K}}"', K=more)
    assert found == {"A": value, "B": f"{value},{more}"}


@given(st.text(st.sampled_from("AB=$ {}:\"'\\\n;#~x`("), max_size=30))
def test_any_text_is_read_or_refused_with_its_line(text):
    try:
        found = read(text)
    except ValueError as error:
        why = str(error)
    else:
        why = ""
        assert all(name.isidentifier() for name in found)
    assert not why or why.startswith("file, line ")


def test_the_line_of_a_variable_is_that_of_its_last_value():
    text = "A=1\n# A=2\nexport B='x\ny' C=3\n: ${D:=4} ${A:=5}\nA=\\\n6\n"
    assert lines(text) == {"A": 6, "B": 3, "C": 4, "D": 5}
    assert lines(text).keys() == read(text).keys()
