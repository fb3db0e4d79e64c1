"""Headend devices behind SNMP: what a model's file says about them, read, set with proof, and taken back."""
