"""What an export reads: whose data, from which endpoints, and what an error of one account means for all."""
