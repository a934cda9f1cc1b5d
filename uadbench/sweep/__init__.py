"""Sweeps: many runs described in one file, carried out on this machine or by Slurm, and resumed.

`description` reads the file, `tasks` plans its cells and says how each stands, `estimate` what they need;
`worker` is one cell in a process of its own, `local` carries out many, `cluster` hands them to Slurm, and
`status` shows them. All that is known about a cell lies in files: there is no service. `run_all` carries out
runs one after the other without any of that.
"""
