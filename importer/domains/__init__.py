"""Domains of a libvirt host: their XML, what it describes, and what cannot be moved. Pure."""
