"""What `boxtune benchmark` consists of."""
