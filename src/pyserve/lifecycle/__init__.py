"""The control flow: which versions are wanted, loading them, taking them away, telling how it went.

    source ──► aspired versions ──► manager ──► loader ──► servable
      │ versions · completeness · watch    │ policy · harness · serving
      └──────── findings ──► startup ◄── monitor ◄┘ states

No wire format, no TensorFlow, no batching here; what loads a version and what warms it up is injected.
"""
