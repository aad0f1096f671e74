"""Imports of what ganeti-instance-debootstrap exported: dumps of a file system, by dump(8)."""
