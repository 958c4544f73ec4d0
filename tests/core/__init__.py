"""Tests of the core, in virtual time."""
