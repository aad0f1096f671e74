"""The longer files of a guest, as jinja2 templates beside this module."""

from pathlib import Path

import jinja2

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)


def render_template(name: str, **values: object) -> str:
    """The template `<name>.j2` with its values; a value that is missing is an error."""
    return _environment.get_template(f"{name}.j2").render(values)
