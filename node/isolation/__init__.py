"""Namespaces, mounts and filters in which programs run apart from the node."""
