"""The node that the kit runs on: its programs, devices, mounts and signals."""
