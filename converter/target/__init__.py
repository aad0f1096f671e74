"""The block device or file that is written: what it is, who uses it, how it is zeroed."""
