"""The longer files of a guest, rendered from the jinja2 templates in this directory."""

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
    """Renders the template `<name>.j2`; a missing value is an error."""
    return _environment.get_template(f"{name}.j2").render(values)
