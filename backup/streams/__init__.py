"""The stream of a backup: its format, its frames, and the pipes that carry it."""
