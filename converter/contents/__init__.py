"""What is on a disk: partitions, file systems, swap areas, the guest's configuration."""
