"""Backup and restore of instances: the stream, `gnt-backup export` and `import` behind it."""

KIT_VERSION = "0.1.0"  # pyproject.toml's: streams name the kit that made them
