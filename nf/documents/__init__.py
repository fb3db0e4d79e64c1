"""What people write (line-up, fleet) and what appliances are given (appliance config), as frozen models."""
