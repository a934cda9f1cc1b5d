"""Implant: lesions of known size and contrast-to-noise in real healthy scans."""
