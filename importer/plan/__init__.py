"""What an import will make: the plan, its file, and the checks before the first byte."""
