"""DNSMOS P.808 and P.835."""
