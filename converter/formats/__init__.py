"""Image formats: parsers and checks of their headers and tables. No input or output."""
