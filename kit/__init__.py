"""The command `instance-kit` for administrators: one file for each verb."""

DONE, PROBLEM, USAGE, FAILED = range(4)  # exit codes
