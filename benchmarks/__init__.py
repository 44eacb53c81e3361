"""What Headwater promises in figures, measured beside its peers: one module a question.

``./dev bench NAME [--quick] [--json]``, or ``python -m benchmarks NAME`` inside the environment.
"""
