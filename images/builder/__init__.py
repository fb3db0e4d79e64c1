"""From packages to an image: each module makes one file out of others and knows nothing of the rest."""
