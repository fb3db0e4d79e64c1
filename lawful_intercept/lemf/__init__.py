"""The agency's side (LEMF): a test receiver of HI2 and HI3 that stores, checks, shows, plays and exports what came."""
