"""The denoising objective: the decoder, made from the live encoder, and the loss over both."""
