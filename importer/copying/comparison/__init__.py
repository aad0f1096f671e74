"""Copies what differs between a disk on the KVM host and a volume, found by digests of blocks."""
