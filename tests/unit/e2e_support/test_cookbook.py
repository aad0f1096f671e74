import pytest

from tests.e2e.cookbook import MARK, Block, blocks, missing, replaced, script

PAGE = """
# Title

## First

Text with `a command`.

```sh
make \\
  it
```

```text
made ... in ... s
```

<!-- on a terminal -->
```sh
use it
```

## Second

<!-- a comment on this text -->
Some text.

```sh
cat <<EOF
## no title
EOF
```
"""


def test_blocks_have_their_recipe_mark_and_output() -> None:
    assert blocks(PAGE) == [
        Block("First", "make \\\n  it", "", ("made ... in ... s",)),
        Block("First", "use it", "on a terminal"),
        Block("Second", "cat <<EOF\n## no title\nEOF", ""),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```python\npass\n```",
        "```\nmake\n```",
        "```text\nmade\n```",
        "```sh\nmake\n```\nSome text.\n```text\nmade\n```",
        "```sh\nmake\n",
    ],
)
def test_blocks_of_no_use_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"block|output"):
        blocks(text)


@pytest.mark.parametrize(
    ("expected", "lacks"),
    [
        (["made it in ... s"], None),
        (["... it ...", "done"], None),
        (["done", "... it ..."], "... it ..."),
        (["made it"], "made it"),
        (["a  b"], None),
        ([], None),
    ],
)
def test_output_is_compared_in_order_and_loosely(expected: list[str], lacks: str | None) -> None:
    assert missing(expected, "made   it in 5 s\na b\r\ndone\n") == lacks


def test_one_shell_runs_all_blocks_and_marks_the_end_of_each() -> None:
    made = script(replaced(block.commands, {"make": "build"}) for block in blocks(PAGE)[:2])
    assert made.startswith("set -euo pipefail\n")
    assert made.endswith(f"\nbuild \\\n  it\necho; echo {MARK}\nuse it\necho; echo {MARK}")
