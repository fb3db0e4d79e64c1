"""OvenMediaEngine by its REST API, as its documentation has it (docs/rest-api at commit 0229fcd4).

Not run against a real OvenMediaEngine: the tests have a server that answers as the documentation says.
"""
