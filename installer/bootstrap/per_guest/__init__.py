"""What belongs to one guest alone: taken out of a bootstrap that is kept, made in each guest."""
