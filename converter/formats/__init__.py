"""Image formats: what their headers and tables say. No input or output."""
