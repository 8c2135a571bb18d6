"""usage: test_openai.py KLINEAR: OpenAI's own client for Node against the server.  77: skipped, aloud."""
import os
import shutil
import subprocess
import sys

from server import Server

if not shutil.which("node"):
    print("skipped: there is no node")
    sys.exit(77)
with Server(sys.argv[1], "--ctx", "8192") as s:
    script = os.path.join(os.path.dirname(__file__), "test_openai.mjs")
    code = subprocess.run(["node", script, s.url], timeout=120).returncode
sys.exit(code)
