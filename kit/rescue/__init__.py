"""A guest's file systems for rescue work: opened by libguestfs in a confined process."""
