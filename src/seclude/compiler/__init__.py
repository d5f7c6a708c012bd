"""See ARCHITECTURE: the room `compiler`."""
