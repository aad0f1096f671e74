"""The settings: their definitions, and how they come from files and OS parameters."""

from installer.settings.definitions import (
    DEFINITIONS,
    MIB,
    Definition,
    Settings,
    as_text,
    parameters_list,
)

__all__ = ["DEFINITIONS", "MIB", "Definition", "Settings", "as_text", "parameters_list"]
