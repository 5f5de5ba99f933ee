"""Transfers: from BankSync to where the data is kept."""
