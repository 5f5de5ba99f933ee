"""Transfers: from BankSync to files."""
