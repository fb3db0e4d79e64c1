"""Path health and switching policy: pure, the same for the appliance that acts alone (T0) and for the NOC (T1, T2)."""
