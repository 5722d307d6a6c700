"""Deploying: the code of the functions and the image of the gateway, and nothing Terraform owns."""
