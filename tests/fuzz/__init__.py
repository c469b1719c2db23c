"""What is read from outside, against bytes that somebody makes up: see `targets`."""
