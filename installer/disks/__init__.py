"""The disks of an instance: planned, proven blank, partitioned, made into file systems."""
