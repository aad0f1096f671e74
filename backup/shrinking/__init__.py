"""Disks that are imported onto smaller ones: their last file system or swap area is shrunk."""
