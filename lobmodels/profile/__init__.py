"""What a data set is like before anything is trained on it: scale, shift, signal, and where the score comes from."""
