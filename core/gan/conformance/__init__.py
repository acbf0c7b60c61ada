"""Checks a plugin against the contracts of `gan.contracts`; the entry point is `gan.testing.check_plugin`."""
