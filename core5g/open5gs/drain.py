DRAIN = "drain"
