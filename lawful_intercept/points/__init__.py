"""The process beside a network function: X1 on one side, the observation points of voice and 5G on the other."""
