"""Who vouches for an image: Secure Boot keys, the bundle's authority and signer, the manifest's key."""
