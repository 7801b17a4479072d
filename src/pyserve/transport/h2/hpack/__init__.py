"""HPACK, the header compression of HTTP/2 (RFC 7541): a decoder for what clients send, and an encoder that keeps no
state, for what the server answers."""
