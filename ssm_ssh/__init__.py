"""Plain ssh, scp and ports to machines without an open port, through AWS Session Manager.

Importing this package imports neither boto3 nor paramiko; the public names load what they need when used.
"""

from __future__ import annotations

__version__ = "0.1.0"
