"""The instance as Ganeti describes it, and the text of files in the guest. All pure."""
