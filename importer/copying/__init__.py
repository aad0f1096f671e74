"""Copies the disks of a domain into logical volumes, in passes."""
