"""The benchmark of unsupervised anomaly detection in brain MRI.

Shape letters, the same in every docstring:
    N subjects, B slices in a batch, C contrasts (channels),
    R, A, S voxels towards the patient's right, front and top (RAS+); axial slices are the last axis.
"""

__version__ = "0.2.0"
