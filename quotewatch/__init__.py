"""QuoteWatch: market data that must not be lost, from the socket to the table."""
