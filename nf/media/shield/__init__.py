"""The cache between origin and edges: Varnish 7."""
