"""The volumes of an import, and how they become an instance of Ganeti."""
