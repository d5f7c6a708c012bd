"""A seccomp workbench for Python."""
