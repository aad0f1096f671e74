"""Block devices of the node: which device is built on which, and who uses them."""
