"""What the functions do, one file each: no framework types, and never sideways."""
