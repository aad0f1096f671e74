"""The command line of qcow2raw: its options, what it says, and its hints."""
