"""Installs a guest on the disks that Ganeti made for it."""
