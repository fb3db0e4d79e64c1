"""Pure: line-up and fleet into one configuration for each appliance, with every broken rule named."""
