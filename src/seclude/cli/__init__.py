"""The command line: one module a command, with its table of options and a ``main`` that parses, calls one function, and prints."""
