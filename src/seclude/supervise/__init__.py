"""See ARCHITECTURE: the room `supervise`."""
