"""The copy itself: pieces of work, threads, what they write to, and its journal."""
