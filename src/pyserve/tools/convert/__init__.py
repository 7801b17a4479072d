"""Makes a version that can be served, out of what a model was saved as: `pyserve convert`.

    pipeline          source → staging directory → edits → trial → published
    source            what kind of thing the source is
    keras_model, graph_files, checkpoint, saved_model     each kind → a SavedModel in the staging directory
    graph_signature   tensors of a graph by name → a SignatureDef; which there are to choose from
    edits             signatures, aliases, tags renamed and chosen (pure)
    image_signature   a signature that takes encoded images; graph_copy, a part of a graph once more (pure)
    trial             run by pyserve's own backend
    publish           the next version number, whole or not at all

TensorFlow is needed, and comes from `backends.saved_model.runtime` when the work begins: nothing here imports it.
"""
