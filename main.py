"""Nothing runs here: gcloud uploads no Python function from a folder without a main.py.

What runs is functions/NAME.py; GOOGLE_FUNCTION_SOURCE names it when a function is built.
"""
