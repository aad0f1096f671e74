"""The disks of an instance: layout, checks for old content, partitions, file systems, swap."""
