"""See ARCHITECTURE: the room `kernel`."""
