"""The bootstrap: mirrors, the program that makes it, and its cache."""
