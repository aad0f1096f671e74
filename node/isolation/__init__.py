"""Namespaces, mounts and system call filters that separate programs from the node."""
