"""The disk of a backup: what of it is needed, how large it must be, how it is written."""
