"""Reads the file of a plan."""

from pathlib import Path

from importer.plan.file import PlanInvalid, parse
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.files import read_text


def load(path: Path) -> tuple[ImportPlan, str]:
    """The plan of a file, and the file's text.

    Raises:
        KitError: it cannot be read, or is no valid plan: all problems are named.
    """
    try:
        content = read_text(path)
        return parse(content), content
    except OSError as error:
        raise KitError(
            f"plan {path}: {error.strerror}", hint="instance-kit import plan --output writes one"
        ) from error
    except UnicodeDecodeError as error:
        raise KitError(f"plan {path}: not UTF-8", hint="save it as UTF-8") from error
    except PlanInvalid as error:
        raise KitError(
            f"plan {path}: {error}", hint="correct the file, or make it anew: import plan"
        ) from error
