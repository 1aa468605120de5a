"""Tests of the kernels under Triton's interpreter, which must be chosen before Triton is imported.

``test_interpreter.py`` beside this folder runs them in a process of their own.
"""

import os

if os.environ.get("TRITON_INTERPRET") == "1":
    import faithful  # noqa: F401
else:
    collect_ignore_glob = ["test_*.py"]
