"""Moves virtual machines of a libvirt host into Ganeti; `instance-kit import` is its command."""
