"""The cache that receivers ask: Apache Traffic Server 9."""
