"""What a training takes from your own labels, and what `dff check` says of them."""
