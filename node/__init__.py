"""The machine that we run on: its programs, devices, mounts and signals."""
