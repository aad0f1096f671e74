"""Gives an imported guest its new addresses, in the files of its network stack."""
