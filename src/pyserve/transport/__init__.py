"""Front ends: sockets and protocols around the handlers of `inference/`."""
