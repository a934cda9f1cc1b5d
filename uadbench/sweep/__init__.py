"""Sweeps: many runs described in one file, carried out on this machine or by Slurm, and resumed.

`description` reads the file, `tasks` plans its cells and says how each stands, `estimate` what they need;
`worker` carries out one cell after the other, `processes` keeps the workers, `local` hands cells to them,
`cluster` to Slurm, and `status` shows them. All that is known about a cell lies in files: there is no
service. `run_all` carries out runs one after the other without any of that.
"""
