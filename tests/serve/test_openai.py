"""usage: test_openai.py KLINEAR: OpenAI's own client for Node against the server.  77: skipped, aloud.

KLINEAR_OPENAI names the folder that has npm's package openai.  KLINEAR_OPENAI_INSTALL names one to install it into."""
import os
import shutil
import subprocess
import sys

from server import Server

if not shutil.which("node"):
    print("skipped: there is no node")
    sys.exit(77)
PACKAGE = "openai@7.57.0"


def install(folder):
    """The package, once; without it (there may be no network) the test is skipped."""
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "node_modules", "openai")):
        command = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
        if not shutil.which("npm") or subprocess.run(command, timeout=300).returncode != 0:
            print(f"skipped: npm cannot install {PACKAGE} here")
            sys.exit(77)
    os.environ["KLINEAR_OPENAI"] = folder


if os.environ.get("KLINEAR_OPENAI_INSTALL"):
    install(os.environ["KLINEAR_OPENAI_INSTALL"])
with Server(sys.argv[1], "--ctx", "8192") as s:
    script = os.path.join(os.path.dirname(__file__), "test_openai.mjs")
    code = subprocess.run(["node", script, s.url], timeout=120).returncode
sys.exit(code)
