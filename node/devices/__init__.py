"""Block devices of the node: how they stand on each other, and who holds them."""
