"""Every alert: on work that does not go on and on what is not heard of."""
