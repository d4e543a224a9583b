"""Read two prediction files and pair their cases."""
