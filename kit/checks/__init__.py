"""The checks of `instance-kit doctor`: one module for each subject."""
