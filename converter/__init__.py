"""Streams disk images into block devices: `qcow2raw`."""
