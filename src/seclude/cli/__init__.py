"""See ARCHITECTURE: the room `cli`."""
