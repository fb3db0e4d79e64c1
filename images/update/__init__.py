"""Another image in the other slot: brought, written, tried, kept or left."""
