"""The TSDAE objective: decoders built from the live encoder, and the loss over encoder and decoder."""
