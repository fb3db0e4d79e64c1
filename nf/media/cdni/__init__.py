"""CDN interconnection: what this network tells an upstream CDN about itself."""
