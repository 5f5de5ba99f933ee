"""What operators, sensors, triggers and transfers share."""
