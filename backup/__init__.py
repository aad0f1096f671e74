"""Backup and restore of instances: the stream, `gnt-backup export` and `import` behind it."""
