"""What a person can ask for: one frozen dataclass a job, checked when it is made.

The command line makes its flags of their fields, and its help of their docstrings; a field between
backticks becomes a flag there. Nothing here needs torch.
"""
