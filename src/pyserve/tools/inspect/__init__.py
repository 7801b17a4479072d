"""What a model is, and how to call it: `pyserve inspect`. Nothing here imports TensorFlow.

version_files   a path   → Inspection
server          a server → Inspection
inspection      the value itself
samples         a signature → values that fit it
calls           the same as something to paste: curl, tensorflow-serving-api, pyserve.client
page            an Inspection as JSON and as lines of text
"""
