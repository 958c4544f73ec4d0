"""Data structures that know no proxy: bounded maps, heaps, sets with a random draw, sum trees."""
