"""The load generator: requests made once, sent over bare sockets by processes of their own, counted and compared.

target, request → load.Plan → processes → generator (http1 or http2 over sockets), or external (h2load, wrk)
                                              → load.Outcome → rounds → report, plot

The generator must be cheaper than what it measures. So it sends the same bytes over and over, reads of an answer no
more than its status, and does without an event loop. `benchmarks/` uses these parts too.
"""
