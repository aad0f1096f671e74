"""The instance: what Ganeti says of it, and the text files that follow from that. All pure."""
