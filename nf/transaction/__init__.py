"""Transactions of an appliance: plan, journal, apply, prove, take back; overrides, reconcile, operations."""
