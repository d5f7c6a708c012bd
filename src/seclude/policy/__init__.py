"""See ARCHITECTURE: the room `policy`."""
