"""Copies the disks of a domain into the volumes of an instance."""
