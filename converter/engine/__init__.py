"""The copy itself: chunks, threads, sinks, digests and the resume journal."""
