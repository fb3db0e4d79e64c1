"""Driver `satellite-receiver`: the PoP's side of the satellite link."""
