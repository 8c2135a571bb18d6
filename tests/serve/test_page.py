"""usage: test_page.py KLINEAR MODEL: the page in Chromium without a window.  77: skipped, aloud.

KLINEAR_NODE: the folder with the node_modules of npm's packages playwright-core and axe-core; else the present one.
KLINEAR_SHOTS: a folder for screenshots; else there are none."""
import os
import shutil
import subprocess
import sys
import tempfile

from server import make_model


def skip(reason):
    print("skipped: " + reason)
    sys.exit(77)


if not shutil.which("node"):
    skip("there is no node")
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not chromium:
    skip("there is no Chromium (Debian: chromium)")
modules = os.path.join(os.environ.get("KLINEAR_NODE", os.getcwd()), "node_modules")
for package in ("playwright-core", "axe-core"):
    if not os.path.isdir(os.path.join(modules, package)):
        skip(f"npm's package {package} is not in {modules}")
if not os.path.exists(sys.argv[2]):
    skip("there is no " + sys.argv[2])
with tempfile.TemporaryDirectory() as folder:
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.mjs")
    tiny = make_model(sys.argv[1], folder)
    command = ["node", script, sys.argv[1], sys.argv[2], tiny, chromium, os.path.dirname(modules), folder]
    sys.exit(subprocess.run(command, timeout=580).returncode)
