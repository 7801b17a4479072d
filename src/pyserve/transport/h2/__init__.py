"""A gRPC server's side of HTTP/2, without sockets, clocks or event loops: bytes in → events, answers in → bytes out.

connection    one connection: every frame's rule, and what it means for the streams (RFC 9113)
frames        the layout of frames, settings and error codes (RFC 9113 sections 4, 6, 7)
settings      SETTINGS, both ways (section 6.5)
stream        one request on its way in (section 5.1)
receiving     windows of what comes in: they grow for messages whose length is declared (section 5.2)
sending       windows of what goes out, and the order in which it goes (section 5.2)
shutdown      GOAWAY in two steps (section 6.8)
hpack/        header compression (RFC 7541)
headers       what a request's header must be, for HTTP/2 (section 8) and for gRPC
grpc_messages the five bytes before a message, and compressed messages
responses     the header blocks of answers
abuse         the known attacks, each with its limit and its counter
"""
