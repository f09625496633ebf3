"""Deployment: the image, examples, the generated reference and the local stack. No service code."""
