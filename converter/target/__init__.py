"""The block device or file that is written: its checks, writes, and methods of zeroing."""
