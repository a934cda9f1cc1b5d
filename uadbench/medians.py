"""temporary"""
import numpy as np
from scipy import ndimage
def median(volume, size, where=None, device=None):
    return ndimage.median_filter(volume, size)
