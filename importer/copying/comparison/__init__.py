"""Reads disks by an agent on the KVM host: what differs from a volume, or all but zeros."""
