"""The command line of qcow2raw: its options, its output, and its hints."""
