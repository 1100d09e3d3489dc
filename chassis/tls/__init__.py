"""Certificates, and both ends of mutual TLS that are made of them."""
