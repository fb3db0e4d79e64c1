"""The tie to origin and CDN: packager, S3 bucket, shield caches, edge caches."""
