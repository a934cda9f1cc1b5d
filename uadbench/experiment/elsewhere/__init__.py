"""Score maps and masks that were made elsewhere: paired with the truth, checked, measured and recorded."""
