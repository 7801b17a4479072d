"""The request path between codec and execution, protocol-neutral: route, validate, hand over, shape the answer."""
