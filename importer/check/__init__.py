"""Checks an imported guest before its first boot, and mends what can be mended in its files."""
