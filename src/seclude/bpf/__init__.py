"""See ARCHITECTURE: the room `bpf`."""
