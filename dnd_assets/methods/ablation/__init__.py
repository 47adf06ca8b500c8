"""What a network loses without a unit, or a group of units: tensors in, effects out."""
