"""The origin: buckets of an S3 API that the packager writes and the shields read."""
