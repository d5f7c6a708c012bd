"""System call numbers, one generated module per table: see tools/make_syscall_numbers.py."""
